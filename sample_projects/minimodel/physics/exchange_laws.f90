!> Bulk formulas for the heat and vapour that pass between the ground and the lowest layer.
module exchange_laws
  use kinds, only: dp
  use constants, only: cp_dry, r_dry, latent_vapour
  use grid, only: nlev, surface_pressure, p_mid, exner, mass
  use vapour, only: saturation_with_slope
  use stability, only: surface_richardson, louis_factor
  implicit none
  private
  type, public :: bulk_flux
    real(dp) :: sensible          ! W m-2, upward
    real(dp) :: evaporation       ! kg m-2 s-1, upward
    real(dp) :: slope             ! W m-2 K-1, how both grow with the skin temperature
  end type bulk_flux
  real(dp), parameter :: neutral_land = 2.5e-3_dp, neutral_sea = 1.2e-3_dp, gustiness = 1.0_dp
  public :: bulk_fluxes

contains

  !> `wetness` 0 .. 1 scales evaporation; `wind` in m/s at the lowest layer; `step` bounds what a layer can give.
  type(bulk_flux) function bulk_fluxes(skin, air_t, air_q, wind, wetness, over_land, step) result(flux)
    real(dp), intent(in) :: skin, air_t, air_q, wind, wetness, step
    logical, intent(in) :: over_land
    real(dp) :: theta, speed, ri, neutral, coefficient, density, qs(1), dqs(1), height, potential, dew
    theta = air_t / exner(nlev)
    density = surface_pressure / (r_dry * skin)
    height = (surface_pressure - p_mid(nlev)) / (density * 9.80665_dp)
    speed = sqrt(wind**2 + gustiness**2)
    ri = surface_richardson(skin, theta, height, speed)
    neutral = merge(neutral_land, neutral_sea, over_land)
    coefficient = neutral * louis_factor(ri, neutral) * speed * density
    call saturation_with_slope([skin], [surface_pressure], qs, dqs)
    flux%sensible = cp_dry * coefficient * (skin - theta)
    potential = coefficient * (qs(1) - air_q)
    if (potential >= 0.0_dp) then
      flux%evaporation = wetness * potential
      flux%slope = cp_dry * coefficient + latent_vapour * wetness * coefficient * dqs(1)
    else
      ! Dew: never more than a tenth of the layer's vapour in a step.
      dew = 0.1_dp * air_q * mass(nlev) / step
      flux%evaporation = -min(-potential, dew)
      flux%slope = cp_dry * coefficient
    end if
  end function bulk_fluxes

end module exchange_laws
