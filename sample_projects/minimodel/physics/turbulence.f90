!> Vertical mixing of dry static energy and of vapour; implicit in time, in flux form, so that columns keep their totals.
module turbulence
  use kinds, only: dp
  use constants, only: gravity, cp_dry, r_dry
  use grid, only: nlev, mass, p_mid, p_edge
  use columns, only: air_column
  use linear, only: solve_tridiagonal
  use stability, only: richardson, louis_factor
  implicit none
  private
  real(dp), parameter :: karman = 0.4_dp, free_length = 60.0_dp
  public :: mix_vertically

contains

  subroutine mix_vertically(column, step)
    type(air_column), intent(inout) :: column
    real(dp), intent(in) :: step                      ! s
    real(dp) :: rate(nlev - 1), z(nlev), lower(nlev), middle(nlev), upper(nlev), mixed(nlev), right(nlev)
    real(dp) :: lapse(nlev - 1)
    integer :: k
    z = column%altitude()
    rate = exchange_rate(column, z)
    lower = 0.0_dp
    upper = 0.0_dp
    do k = 1, nlev - 1
      upper(k) = -step * rate(k) / mass(k)
      lower(k + 1) = -step * rate(k) / mass(k + 1)
    end do
    middle = 1.0_dp - lower - upper
    call solve_tridiagonal(lower, middle, upper, column%q, mixed)
    column%q = mixed
    ! The adiabatic lapse between the layers is part of the flux and known beforehand.
    lapse = gravity / cp_dry * (z(1:nlev - 1) - z(2:nlev))
    right = column%t
    do k = 1, nlev - 1
      right(k) = right(k) - step * rate(k) * lapse(k) / mass(k)
      right(k + 1) = right(k + 1) + step * rate(k) * lapse(k) / mass(k + 1)
    end do
    call solve_tridiagonal(lower, middle, upper, right, mixed)
    column%t = mixed
  end subroutine mix_vertically

  !> kg m-2 s-1 of air exchanged between neighbouring layers.
  pure function exchange_rate(column, z) result(rate)
    type(air_column), intent(in) :: column
    real(dp), intent(in) :: z(nlev)
    real(dp) :: rate(nlev - 1), ri(nlev - 1), density, length, height, diffusivity, gap
    integer :: k
    ri = richardson(column)
    do k = 1, nlev - 1
      gap = z(k) - z(k + 1)
      height = 0.5_dp * (z(k) + z(k + 1))
      length = karman * height / (1.0_dp + karman * height / free_length)
      diffusivity = length**2 * (3.0_dp + 0.002_dp * gap) / gap * louis_factor(ri(k), 0.01_dp)
      diffusivity = min(0.05_dp + diffusivity * exp(-(height / 2.0e3_dp)**2) * 8.0_dp, 200.0_dp)
      density = p_edge(k) / (r_dry * 0.5_dp * (column%t(k) + column%t(k + 1)))
      rate(k) = density * diffusivity / gap
    end do
  end function exchange_rate

end module turbulence
