!> Slope limiters for the advection scheme.  All give 0 at an extremum.
module limiters
  use kinds, only: dp
  implicit none
  private
  public :: van_leer, minmod, superbee, monotonised

contains

  elemental real(dp) function van_leer(a, b)
    real(dp), intent(in) :: a, b
    van_leer = 0.0_dp
    if (a * b > 0.0_dp) van_leer = 2.0_dp * a * b / (a + b)
  end function van_leer

  elemental real(dp) function minmod(a, b)
    real(dp), intent(in) :: a, b
    minmod = 0.0_dp
    if (a * b > 0.0_dp) minmod = sign(min(abs(a), abs(b)), a)
  end function minmod

  elemental real(dp) function superbee(a, b)
    real(dp), intent(in) :: a, b
    superbee = minmod(a, 2.0_dp * b)
    if (abs(minmod(2.0_dp * a, b)) > abs(superbee)) superbee = minmod(2.0_dp * a, b)
  end function superbee

  elemental real(dp) function monotonised(a, b)
    real(dp), intent(in) :: a, b
    monotonised = minmod(0.5_dp * (a + b), 2.0_dp * minmod(a, b))
  end function monotonised

end module limiters
