module mixing_mod
  use grid_mod, only: nlat
  implicit none
contains
  subroutine mix(t)
    real, intent(inout) :: t(nlat)
    t(2:nlat-1) = t(2:nlat-1) + 0.1 * (t(1:nlat-2) - 2 * t(2:nlat-1) + t(3:nlat))
  end subroutine
end module mixing_mod
