!> Sea ice without heat capacity of its own (Semtner 1976, zero layers): thickness, skin temperature, albedo.
module seaice
  use kinds, only: dp
  use constants, only: freezing, freezing_sea, latent_fusion, latent_vapour, density_ice, conductivity_ice
  use exchange_laws, only: bulk_flux, bulk_fluxes
  implicit none
  private
  real(dp), parameter :: thinnest = 0.1_dp                                ! m, for conduction
  real(dp), parameter :: albedo_sea = 0.07_dp, albedo_ice = 0.62_dp, albedo_melting = 0.50_dp
  public :: ice_thickness, ice_balance, sea_albedo

contains

  !> m, from the heat (J m-2) that the sea column lacks.
  elemental real(dp) function ice_thickness(heat)
    real(dp), intent(in) :: heat
    ice_thickness = max(-heat, 0.0_dp) / (density_ice * latent_fusion)
  end function ice_thickness

  !> Skin temperature at which radiation, air and conduction balance, by Newton's method; and the air's fluxes there.
  subroutine ice_balance(thickness, radiation, air_t, air_q, wind, step, skin, flux)
    real(dp), intent(in) :: thickness, radiation, air_t, air_q, wind, step
    real(dp), intent(inout) :: skin
    type(bulk_flux), intent(out) :: flux
    real(dp) :: conductance, balance, change
    integer :: round
    conductance = conductivity_ice / max(thickness, thinnest)
    do round = 1, 8
      flux = bulk_fluxes(skin, air_t, air_q, wind, 1.0_dp, .false., step)
      balance = radiation - flux%sensible - latent_vapour * flux%evaporation + conductance * (freezing_sea - skin)
      change = balance / (conductance + flux%slope + 4.0_dp)
      change = min(max(change, -8.0_dp), 8.0_dp)
      skin = min(max(skin + change, 200.0_dp), freezing)
      if (abs(change) < 1.0e-4_dp) exit
    end do
    flux = bulk_fluxes(skin, air_t, air_q, wind, 1.0_dp, .false., step)
  end subroutine ice_balance

  !> Thin ice lets the dark sea shine through; ice at its melting point is darker.
  elemental real(dp) function sea_albedo(thickness, skin)
    real(dp), intent(in) :: thickness, skin
    real(dp) :: bright, cover
    bright = merge(albedo_melting, albedo_ice, skin > freezing - 0.5_dp)
    cover = min(thickness / 0.5_dp, 1.0_dp)
    sea_albedo = albedo_sea + cover * (bright - albedo_sea)
  end function sea_albedo

end module seaice
