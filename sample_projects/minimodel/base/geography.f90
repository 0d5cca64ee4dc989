!> Land and sea of an idealised Earth: continents are unions of ellipses.  It knows nothing of mountains.
module geography
  use kinds, only: dp
  use grid, only: nlon, nlat, longitude, latitude
  implicit none
  private
  type :: ellipse
    real(dp) :: east, north          ! centre, degrees
    real(dp) :: half_east, half_north
  end type ellipse
  type(ellipse), parameter :: continents(*) = [ &
    ellipse( 80.0_dp,  52.0_dp, 72.0_dp, 23.0_dp), &   ! Eurasia
    ellipse(105.0_dp,  27.0_dp, 16.0_dp, 16.0_dp), &   ! South-east Asia
    ellipse( 78.0_dp,  20.0_dp,  7.0_dp, 12.0_dp), &   ! India
    ellipse( 15.0_dp,  15.0_dp, 28.0_dp, 18.0_dp), &   ! Africa north
    ellipse( 26.0_dp, -14.0_dp, 14.0_dp, 21.0_dp), &   ! Africa south
    ellipse(-100.0_dp, 50.0_dp, 33.0_dp, 20.0_dp), &   ! North America
    ellipse(-60.0_dp, -12.0_dp, 17.0_dp, 20.0_dp), &   ! South America
    ellipse(-68.0_dp, -38.0_dp,  6.0_dp, 17.0_dp), &   ! Patagonia
    ellipse(134.0_dp, -25.0_dp, 19.0_dp, 12.0_dp), &   ! Australia
    ellipse(-41.0_dp,  73.0_dp, 15.0_dp, 11.0_dp)]     ! Greenland
  real(dp), parameter :: antarctic_coast = -71.0_dp
  logical, public, protected :: is_land(nlon, nlat)
  real(dp), public, protected :: soil_albedo(nlon, nlat)
  public :: geography_setup, land_fraction

contains

  subroutine geography_setup()
    integer :: i, j
    do j = 1, nlat
      do i = 1, nlon
        is_land(i, j) = latitude(j) < antarctic_coast .or. any(inside(continents, longitude(i), latitude(j)))
        soil_albedo(i, j) = albedo_of(latitude(j))
      end do
    end do
  end subroutine geography_setup

  elemental logical function inside(shape, east, north)
    type(ellipse), intent(in) :: shape
    real(dp), intent(in) :: east, north
    real(dp) :: gap
    gap = modulo(east - shape%east + 180.0_dp, 360.0_dp) - 180.0_dp
    inside = (gap / shape%half_east)**2 + ((north - shape%north) / shape%half_north)**2 <= 1.0_dp
  end function inside

  !> Bare-ground albedo: deserts in the subtropics, forest elsewhere, ice sheets at the poles.
  elemental real(dp) function albedo_of(north)
    real(dp), intent(in) :: north
    albedo_of = 0.15_dp + 0.15_dp * exp(-((abs(north) - 23.0_dp) / 8.0_dp)**2)
    if (north < antarctic_coast .or. north > 76.0_dp) albedo_of = 0.75_dp
  end function albedo_of

  !> The part of every latitude circle that is land.
  pure function land_fraction() result(fraction)
    real(dp) :: fraction(nlat)
    fraction = count(is_land, dim=1) / real(nlon, dp)
  end function land_fraction

end module geography
