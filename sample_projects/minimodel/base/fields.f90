!> What the model carries from one time step to the next, and the totals that must be conserved.
module fields
  use kinds, only: dp
  use constants, only: cp_dry, latent_vapour
  use grid, only: nlon, nlat, nlev, global_mean, column_total
  use geography, only: is_land
  implicit none
  private

  type, public :: air_state
    real(dp) :: temperature(nlon, nlat, nlev)   ! K
    real(dp) :: humidity(nlon, nlat, nlev)      ! kg/kg
  end type air_state

  type, public :: ground_state
    real(dp) :: soil_heat(nlon, nlat)           ! J m-2 above the freezing point, land only
    real(dp) :: soil_water(nlon, nlat)          ! kg m-2, land only
    real(dp) :: ocean_heat(nlon, nlat)          ! J m-2 above the sea's freezing point; ice counts negative
    real(dp) :: skin(nlon, nlat)                ! K, what radiates and evaporates
    real(dp) :: albedo(nlon, nlat)
    real(dp) :: wetness(nlon, nlat)             ! 0 .. 1, share of potential evaporation
  end type ground_state

  !> Exchanges of one step, per m2; positive downward unless the name says otherwise.
  type, public :: exchange
    real(dp) :: toa_net(nlon, nlat)             ! W m-2, absorbed sunlight less outgoing longwave
    real(dp) :: toa_solar(nlon, nlat)           ! W m-2, absorbed
    real(dp) :: outgoing(nlon, nlat)            ! W m-2, longwave to space
    real(dp) :: ground_solar(nlon, nlat)        ! W m-2
    real(dp) :: ground_longwave(nlon, nlat)     ! W m-2, down less up
    real(dp) :: heating(nlon, nlat, nlev)       ! W m-2 in each layer, by radiation
    real(dp) :: sensible(nlon, nlat)            ! W m-2, upward
    real(dp) :: evaporation(nlon, nlat)         ! kg m-2 s-1, upward
    real(dp) :: rain(nlon, nlat)                ! kg m-2 s-1
    real(dp) :: runoff(nlon, nlat)              ! kg m-2 s-1, land to sea
    real(dp) :: cloud(nlon, nlat)               ! 0 .. 1, cover seen from above
  end type exchange

  public :: energy_of, water_of, clear

contains

  !> Enthalpy and latent heat of air, soil and sea, J per m2 of the sphere.
  pure real(dp) function energy_of(air, ground)
    type(air_state), intent(in) :: air
    type(ground_state), intent(in) :: ground
    real(dp) :: energy(nlon, nlat)
    energy = column_total(cp_dry * air%temperature + latent_vapour * air%humidity)
    energy = energy + merge(ground%soil_heat, ground%ocean_heat, is_land)
    energy_of = global_mean(energy)
  end function energy_of

  !> Water in air and soil, kg per m2 of the sphere.
  pure real(dp) function water_of(air, ground)
    type(air_state), intent(in) :: air
    type(ground_state), intent(in) :: ground
    real(dp) :: water(nlon, nlat)
    water = column_total(air%humidity)
    where (is_land) water = water + ground%soil_water
    water_of = global_mean(water)
  end function water_of

  pure subroutine clear(flows)
    type(exchange), intent(out) :: flows
    integer :: j
    do j = 1, nlat
      call clear_circle(flows, j)
    end do
  end subroutine clear

  !> All exchanges along one circle of latitude.
  pure subroutine clear_circle(flows, j)
    type(exchange), intent(inout) :: flows
    integer, intent(in) :: j
    flows%toa_net(:, j) = 0.0_dp
    flows%toa_solar(:, j) = 0.0_dp
    flows%outgoing(:, j) = 0.0_dp
    flows%ground_solar(:, j) = 0.0_dp
    flows%ground_longwave(:, j) = 0.0_dp
    flows%heating(:, j, :) = 0.0_dp
    flows%sensible(:, j) = 0.0_dp
    flows%evaporation(:, j) = 0.0_dp
    flows%rain(:, j) = 0.0_dp
    flows%runoff(:, j) = 0.0_dp
    flows%cloud(:, j) = 0.0_dp
  end subroutine clear_circle

end module fields
