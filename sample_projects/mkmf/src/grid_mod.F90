module grid_mod
  implicit none
  integer, parameter :: nlat = NLAT
contains
  pure real function latitude(j)
    integer, intent(in) :: j
    latitude = -90.0 + (real(j) - 0.5) * 180.0 / nlat
  end function
end module grid_mod
