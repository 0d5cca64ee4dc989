!> The state that a run begins with: a zonal climate with a little noise.
module initial
  use kinds, only: dp
  use constants, only: freezing, freezing_sea, degree, density_ice, latent_fusion
  use grid, only: nlon, nlat, nlev, latitude, p_mid, surface_pressure
  use geography, only: is_land
  use fields, only: air_state, ground_state
  use vapour, only: saturation
  use land, only: soil_capacity
  use slab, only: slab_capacity
  use clib, only: seed_random, normal_noise
  implicit none
  private
  public :: initialise

contains

  subroutine initialise(seed, noise, air, ground)
    integer, intent(in) :: seed
    real(dp), intent(in) :: noise
    type(air_state), intent(out) :: air
    type(ground_state), intent(out) :: ground
    real(dp) :: surface
    integer :: i, j, k
    call seed_random(seed)
    do j = 1, nlat
      surface = surface_climate(latitude(j))
      do i = 1, nlon
        do k = 1, nlev
          air%temperature(i, j, k) = max(surface * (p_mid(k) / surface_pressure)**0.185_dp, 205.0_dp) &
            + noise * normal_noise()
        end do
        air%humidity(i, j, :) = saturation(air%temperature(i, j, :), p_mid) * (0.25_dp + 0.5_dp * p_mid / surface_pressure)
        ground%soil_heat(i, j) = 0.0_dp
        ground%soil_water(i, j) = 0.0_dp
        ground%ocean_heat(i, j) = 0.0_dp
        if (is_land(i, j)) then
          ground%soil_heat(i, j) = soil_capacity * (surface - 1.0_dp - freezing)
          ground%soil_water(i, j) = 60.0_dp + 60.0_dp * cos(2.0_dp * latitude(j) * degree)**2
        else if (surface > freezing_sea) then
          ground%ocean_heat(i, j) = slab_capacity * (surface + 1.0_dp - freezing_sea)
        else
          ground%ocean_heat(i, j) = -density_ice * latent_fusion * min((freezing_sea - surface) / 10.0_dp, 2.5_dp)
        end if
        ground%skin(i, j) = surface
      end do
    end do
    ground%albedo = 0.1_dp
    ground%wetness = 1.0_dp
  end subroutine initialise

  !> K, by latitude, about that of January.
  elemental real(dp) function surface_climate(north)
    real(dp), intent(in) :: north
    surface_climate = 302.0_dp - 46.0_dp * sin(0.94_dp * (north + 6.0_dp) * degree)**2 - 0.08_dp * max(north, 0.0_dp)
  end function surface_climate

end module initial
