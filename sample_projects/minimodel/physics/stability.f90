!> How stable the air stands: bulk Richardson numbers, and how they damp or enhance mixing (Louis 1979).
module stability
  use kinds, only: dp
  use constants, only: gravity
  use grid, only: nlev
  use columns, only: air_column
  implicit none
  private
  real(dp), parameter :: b = 5.0_dp, c = 7.5_dp, d = 5.0_dp
  public :: richardson, surface_richardson, louis_factor

contains

  !> Between layers k and k+1, from potential temperatures and an assumed wind shear.
  pure function richardson(column) result(ri)
    type(air_column), intent(in) :: column
    real(dp) :: ri(nlev - 1), theta(nlev), z(nlev), gap, shear
    integer :: k
    theta = column%potential() * (1.0_dp + 0.608_dp * column%q)
    z = column%altitude()
    do k = 1, nlev - 1
      gap = z(k) - z(k + 1)
      shear = 3.0_dp + 0.002_dp * gap
      ri(k) = gravity * gap * (theta(k) - theta(k + 1)) / (0.5_dp * (theta(k) + theta(k + 1)) * shear**2)
    end do
  end function richardson

  !> Between the ground and the lowest layer.
  pure real(dp) function surface_richardson(skin, theta_air, height, wind)
    real(dp), intent(in) :: skin, theta_air, height, wind
    surface_richardson = gravity * height * (theta_air - skin) / (0.5_dp * (theta_air + skin) * max(wind, 1.0_dp)**2)
  end function surface_richardson

  !> What a neutral exchange coefficient is multiplied with.
  elemental real(dp) function louis_factor(ri, neutral)
    real(dp), intent(in) :: ri, neutral
    if (ri >= 0.0_dp) then
      louis_factor = 1.0_dp / (1.0_dp + 2.0_dp * b * min(ri, 10.0_dp) / sqrt(1.0_dp + d * min(ri, 10.0_dp)))
    else
      louis_factor = 1.0_dp + 2.0_dp * b * abs(ri) / (1.0_dp + 3.0_dp * b * c * neutral * sqrt(abs(ri) * 30.0_dp))
      louis_factor = min(louis_factor, 8.0_dp)
    end if
  end function louis_factor

end module stability
