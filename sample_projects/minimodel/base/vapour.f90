!> Water vapour's thermodynamics, over the fixed-form saturation routines.
module vapour
  use kinds, only: dp
  use constants, only: cp_dry, latent_vapour, r_dry, r_vapour, gravity
  implicit none
  private
  interface
    subroutine qsats(n, t, p, qs, dqsdt)
      import :: dp
      integer, intent(in) :: n
      real(dp), intent(in) :: t(n), p(n)
      real(dp), intent(out) :: qs(n), dqsdt(n)
    end subroutine qsats
  end interface
  public :: saturation, saturation_with_slope, moist_lapse

contains

  !> Saturation specific humidity, kg/kg, at temperatures (K) and pressures (Pa).
  function saturation(t, p) result(qs)
    real(dp), intent(in), contiguous :: t(:), p(:)
    real(dp) :: qs(size(t)), slope(size(t))
    call qsats(size(t), t, p, qs, slope)
  end function saturation

  subroutine saturation_with_slope(t, p, qs, slope)
    real(dp), intent(in), contiguous :: t(:), p(:)
    real(dp), intent(out), contiguous :: qs(:), slope(:)
    call qsats(size(t), t, p, qs, slope)
  end subroutine saturation_with_slope

  !> dT/dln p of saturated ascent, K: the pseudo-adiabat.
  real(dp) function moist_lapse(t, p)
    real(dp), intent(in) :: t, p
    real(dp) :: qs(1), heat
    qs = saturation([t], [p])
    heat = latent_vapour * qs(1)
    moist_lapse = (r_dry * t + heat) / (cp_dry + latent_vapour * heat / (r_vapour * t**2))
  end function moist_lapse

end module vapour
