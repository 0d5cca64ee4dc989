!> Where the sun stands: the cosine of its zenith distance, averaged over the part of an interval that is day.
module insolation
  use kinds, only: dp
  use constants, only: pi_, solar_constant
  use grid, only: nlon, nlat, sin_lat, cos_lat
  use calendar, only: day_of_year, hour_angles
  implicit none
  private
  real(dp), parameter :: eccentricity = 0.0167_dp, obliquity = 23.44_dp, perihelion = 282.9_dp
  integer, parameter :: points = 6
  type, public :: sunshine
    real(dp) :: cosine(nlon, nlat)    ! of the zenith distance while the sun is up
    real(dp) :: lit(nlon, nlat)       ! share of the interval with the sun up
    real(dp) :: flux                  ! W m-2 on a surface that faces the sun
  end type sunshine
  interface
    subroutine orbit(day, eccn, obliq, omegvp, sind, cosd, dist2)
      import :: dp
      real(dp), intent(in) :: day, eccn, obliq, omegvp
      real(dp), intent(out) :: sind, cosd, dist2
    end subroutine orbit
    real(dp) function dayeqx(dayoyr)
      import :: dp
      real(dp), intent(in) :: dayoyr
    end function dayeqx
    subroutine gauleg(n, x, w)
      import :: dp
      integer, intent(in) :: n
      real(dp), intent(out) :: x(n), w(n)
    end subroutine gauleg
  end interface
  public :: sunshine_over

contains

  !> Over the `interval` seconds that begin at `time`, by Gaussian quadrature in the hour angle.
  type(sunshine) function sunshine_over(time, interval) result(sun)
    real(dp), intent(in) :: time, interval
    real(dp) :: nodes(points), weights(points), angles(nlon), sine, cosine, closeness, moment, height, total
    integer :: i, j, n
    call gauleg(points, nodes, weights)
    call orbit(dayeqx(day_of_year(time + 0.5_dp * interval)), eccentricity, obliquity, perihelion, &
               sine, cosine, closeness)
    sun%flux = solar_constant * closeness
    sun%cosine = 0.0_dp
    sun%lit = 0.0_dp
    do n = 1, points
      moment = time + 0.5_dp * interval * (1.0_dp + nodes(n))
      angles = hour_angles(moment)
      do j = 1, nlat
        do i = 1, nlon
          height = sin_lat(j) * sine + cos_lat(j) * cosine * cos(angles(i))
          if (height <= 0.0_dp) cycle
          sun%cosine(i, j) = sun%cosine(i, j) + 0.5_dp * weights(n) * height
          sun%lit(i, j) = sun%lit(i, j) + 0.5_dp * weights(n)
        end do
      end do
    end do
    do j = 1, nlat
      do i = 1, nlon
        total = sun%lit(i, j)
        if (total > 0.0_dp) sun%cosine(i, j) = sun%cosine(i, j) / total
      end do
    end do
  end function sunshine_over

end module insolation
