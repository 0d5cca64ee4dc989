!> The mixed layer: heat content, temperature, and exchange with the air.  Its currents are in the submodule.
module slab
  use kinds, only: dp
  use constants, only: density_water, heat_water, freezing_sea, latent_vapour
  use grid, only: nlon, nlat
  use seaice, only: ice_thickness, ice_balance
  use exchange_laws, only: bulk_flux, bulk_fluxes
  implicit none
  private
  real(dp), parameter :: depth = 50.0_dp                                     ! m
  real(dp), parameter, public :: slab_capacity = density_water * heat_water * depth   ! J m-2 K-1
  public :: sea_temperature, step_sea, carry_heat

  interface
    !> Moves heat between neighbouring sea cells; the sum over the sphere stays.
    module subroutine carry_heat(heat, step)
      real(dp), intent(inout) :: heat(nlon, nlat)
      real(dp), intent(in) :: step
    end subroutine carry_heat
  end interface

contains

  !> Under ice the water is at its freezing point.
  elemental real(dp) function sea_temperature(heat)
    real(dp), intent(in) :: heat
    sea_temperature = freezing_sea + max(heat, 0.0_dp) / slab_capacity
  end function sea_temperature

  !> One cell, one step: all that the air and the radiation leave goes into the column.
  subroutine step_sea(heat, skin, radiation, air_t, air_q, wind, step, flux)
    real(dp), intent(inout) :: heat, skin
    real(dp), intent(in) :: radiation, air_t, air_q, wind, step
    type(bulk_flux), intent(out) :: flux
    if (heat < 0.0_dp) then
      call ice_balance(ice_thickness(heat), radiation, air_t, air_q, wind, step, skin, flux)
    else
      skin = sea_temperature(heat)
      flux = bulk_fluxes(skin, air_t, air_q, wind, 1.0_dp, .false., step)
    end if
    heat = heat + step * (radiation - flux%sensible - latent_vapour * flux%evaporation)
    if (heat >= 0.0_dp) skin = sea_temperature(heat)
  end subroutine step_sea

end module slab
