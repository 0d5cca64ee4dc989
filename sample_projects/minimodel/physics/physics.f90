!> All that happens in the columns in one step, apart from radiation and the sea.
module physics
  use kinds, only: dp
  use constants, only: cp_dry, latent_vapour
  use grid, only: nlon, nlat, nlev, mass
  use geography, only: is_land, soil_albedo
  use fields, only: air_state, ground_state, exchange
  use columns, only: air_column, take_column, put_column
  use exchange_laws, only: bulk_flux
  use turbulence, only: mix_vertically
  use convection, only: adjust_dry, convect
  use condensation, only: condense
  use land, only: step_land, soil_temperature, soil_wetness, land_albedo, bucket
  implicit none
  private
  public :: step_land_cells, step_columns, refresh_land

contains

  subroutine step_land_cells(air, ground, flows, wind, step)
    type(air_state), intent(in) :: air
    type(ground_state), intent(inout) :: ground
    type(exchange), intent(inout) :: flows
    real(dp), intent(in) :: wind(nlat), step
    type(bulk_flux) :: flux
    integer :: i, j
    do j = 1, nlat
      do i = 1, nlon
        if (.not. is_land(i, j)) cycle
        call step_land(ground%soil_heat(i, j), ground%soil_water(i, j), &
                       flows%ground_solar(i, j) + flows%ground_longwave(i, j), &
                       air%temperature(i, j, nlev), air%humidity(i, j, nlev), wind(j), step, flux)
        flows%sensible(i, j) = flux%sensible
        flows%evaporation(i, j) = flux%evaporation
      end do
    end do
  end subroutine step_land_cells

  !> Radiative heating, surface fluxes, mixing, convection, rain; `flows%rain` and `%runoff` are set.
  subroutine step_columns(air, ground, flows, step)
    type(air_state), intent(inout) :: air
    type(ground_state), intent(inout) :: ground
    type(exchange), intent(inout) :: flows
    real(dp), intent(in) :: step
    type(air_column) :: column
    real(dp) :: deep, wide, spill
    integer :: i, j
    do j = 1, nlat
      do i = 1, nlon
        column = take_column(air, i, j)
        column%t = column%t + step * flows%heating(i, j, :) / (cp_dry * mass)
        column%t(nlev) = column%t(nlev) + step * flows%sensible(i, j) / (cp_dry * mass(nlev))
        column%q(nlev) = column%q(nlev) + step * flows%evaporation(i, j) / mass(nlev)
        call mix_vertically(column, step)
        call adjust_dry(column)
        call convect(column, step, deep)
        call condense(column, wide)
        call put_column(column, air, i, j)
        flows%rain(i, j) = (deep + wide) / step
        flows%runoff(i, j) = 0.0_dp
        if (is_land(i, j)) then
          ground%soil_water(i, j) = ground%soil_water(i, j) + deep + wide
          spill = max(ground%soil_water(i, j) - bucket, 0.0_dp)
          ground%soil_water(i, j) = ground%soil_water(i, j) - spill
          flows%runoff(i, j) = spill / step
        end if
      end do
    end do
  end subroutine step_columns

  !> What radiation and evaporation need to know of the land.
  subroutine refresh_land(ground)
    type(ground_state), intent(inout) :: ground
    where (is_land)
      ground%skin = soil_temperature(ground%soil_heat)
      ground%wetness = soil_wetness(ground%soil_water)
      ground%albedo = land_albedo(soil_albedo, soil_temperature(ground%soil_heat))
    end where
  end subroutine refresh_land

end module physics
