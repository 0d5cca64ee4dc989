!> Air that is more than saturated rains out at once; what falls through dry layers evaporates in part.
module condensation
  use kinds, only: dp
  use constants, only: cp_dry, latent_vapour
  use grid, only: nlev, mass, p_mid
  use columns, only: air_column
  use vapour, only: saturation_with_slope
  implicit none
  private
  real(dp), parameter :: evaporation_share = 0.10_dp
  public :: condense

contains

  !> `rain` in kg m-2 that reaches the ground.
  subroutine condense(column, rain)
    type(air_column), intent(inout) :: column
    real(dp), intent(out) :: rain
    real(dp) :: qs(nlev), slope(nlev), excess, room, falling
    integer :: k, round
    falling = 0.0_dp
    do round = 1, 2
      call saturation_with_slope(column%t, p_mid, qs, slope)
      do k = 1, nlev
        excess = column%q(k) - qs(k)
        if (excess > 0.0_dp) then
          ! Newton's step along constant cp T + L q.
          excess = excess / (1.0_dp + latent_vapour / cp_dry * slope(k))
          falling = falling + excess * mass(k)
          column%q(k) = column%q(k) - excess
          column%t(k) = column%t(k) + latent_vapour / cp_dry * excess
        else if (round == 1 .and. falling > 0.0_dp) then
          room = -excess / (1.0_dp + latent_vapour / cp_dry * slope(k)) * mass(k)
          room = min(evaporation_share * room, 0.3_dp * falling)
          falling = falling - room
          column%q(k) = column%q(k) + room / mass(k)
          column%t(k) = column%t(k) - latent_vapour / cp_dry * room / mass(k)
        end if
      end do
    end do
    rain = falling
  end subroutine condense

end module condensation
