!> Soil: one layer of heat, one bucket of water (Manabe 1969), and an albedo that snow-cold ground raises.
module land
  use kinds, only: dp
  use constants, only: freezing, latent_vapour
  use geography, only: soil_albedo
  use exchange_laws, only: bulk_flux, bulk_fluxes
  implicit none
  private
  real(dp), parameter, public :: soil_capacity = 3.0e6_dp     ! J m-2 K-1
  real(dp), parameter, public :: bucket = 150.0_dp            ! kg m-2
  real(dp), parameter :: cold_albedo = 0.55_dp
  public :: soil_temperature, soil_wetness, land_albedo, step_land

contains

  elemental real(dp) function soil_temperature(heat)
    real(dp), intent(in) :: heat
    soil_temperature = freezing + heat / soil_capacity
  end function soil_temperature

  elemental real(dp) function soil_wetness(water)
    real(dp), intent(in) :: water
    soil_wetness = min(max(water / (0.75_dp * bucket), 0.0_dp), 1.0_dp)
  end function soil_wetness

  elemental real(dp) function land_albedo(bare, temperature)
    real(dp), intent(in) :: bare, temperature
    real(dp) :: snow
    snow = min(max((freezing - temperature) / 12.0_dp, 0.0_dp), 1.0_dp)
    land_albedo = max(bare, bare + snow * (cold_albedo - bare))
  end function land_albedo

  !> Advances one cell by `step` seconds under the net radiation; returns the fluxes that the air receives.
  subroutine step_land(heat, water, radiation, air_t, air_q, wind, step, flux)
    real(dp), intent(inout) :: heat, water
    real(dp), intent(in) :: radiation, air_t, air_q, wind, step
    type(bulk_flux), intent(out) :: flux
    real(dp) :: skin, surplus, damping
    skin = soil_temperature(heat)
    flux = bulk_fluxes(skin, air_t, air_q, wind, soil_wetness(water), .true., step)
    flux%evaporation = min(flux%evaporation, 0.5_dp * water / step)
    ! Linearised implicit step: the fluxes of the step's end, as far as their slope tells.
    surplus = radiation - flux%sensible - latent_vapour * flux%evaporation
    damping = 1.0_dp + step * flux%slope / soil_capacity
    surplus = surplus / damping
    flux%sensible = radiation - latent_vapour * flux%evaporation - surplus
    heat = heat + step * surplus
    water = water - step * flux%evaporation
  end subroutine step_land

end module land
