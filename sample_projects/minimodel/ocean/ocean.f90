!> All sea cells in one step.
module ocean
  use kinds, only: dp
  use grid, only: nlon, nlat, nlev
  use geography, only: is_land
  use fields, only: air_state, ground_state, exchange
  use exchange_laws, only: bulk_flux
  use slab, only: step_sea, carry_heat, sea_temperature
  use seaice, only: ice_thickness, sea_albedo
  implicit none
  private
  public :: step_ocean, refresh_sea

contains

  subroutine step_ocean(air, ground, flows, wind, step)
    type(air_state), intent(in) :: air
    type(ground_state), intent(inout) :: ground
    type(exchange), intent(inout) :: flows
    real(dp), intent(in) :: wind(nlat), step
    type(bulk_flux) :: flux
    integer :: i, j
    do j = 1, nlat
      do i = 1, nlon
        if (is_land(i, j)) cycle
        call step_sea(ground%ocean_heat(i, j), ground%skin(i, j), &
                      flows%ground_solar(i, j) + flows%ground_longwave(i, j), &
                      air%temperature(i, j, nlev), air%humidity(i, j, nlev), wind(j), step, flux)
        flows%sensible(i, j) = flux%sensible
        flows%evaporation(i, j) = flux%evaporation
      end do
    end do
    call carry_heat(ground%ocean_heat, step)
  end subroutine step_ocean

  !> What radiation needs to know of the sea.
  subroutine refresh_sea(ground)
    type(ground_state), intent(inout) :: ground
    where (.not. is_land)
      ground%skin = merge(ground%skin, sea_temperature(ground%ocean_heat), ground%ocean_heat < 0.0_dp)
      ground%wetness = 1.0_dp
      ground%albedo = sea_albedo(ice_thickness(ground%ocean_heat), ground%skin)
    end where
  end subroutine refresh_sea

end module ocean
