!> The books of energy and water: what is there now, less what was there at first, less what came in and went out.
module budgets
  use kinds, only: dp
  use grid, only: nlon, nlat, global_mean
  use geography, only: is_land
  use fields, only: air_state, ground_state, exchange, energy_of, water_of
  implicit none
  private
  type, public :: budget
    private
    real(dp) :: first_energy = 0.0_dp, first_water = 0.0_dp
    real(dp) :: energy_in = 0.0_dp, energy_lost_bits = 0.0_dp, water_in = 0.0_dp
    real(dp) :: energy_moved = 0.0_dp, water_moved = 0.0_dp
  contains
    procedure :: open => budget_open
    procedure :: post => budget_post
    procedure :: energy_error => budget_energy_error
    procedure :: water_error => budget_water_error
  end type budget

contains

  subroutine budget_open(this, air, ground)
    class(budget), intent(inout) :: this
    type(air_state), intent(in) :: air
    type(ground_state), intent(in) :: ground
    this%first_energy = energy_of(air, ground)
    this%first_water = water_of(air, ground)
  end subroutine budget_open

  !> Adds what crossed the borders in one step of `seconds`.
  subroutine budget_post(this, flows, seconds)
    class(budget), intent(inout) :: this
    type(exchange), intent(in) :: flows
    real(dp), intent(in) :: seconds
    real(dp) :: to_sea(nlon, nlat)
    call add_exactly(this%energy_in, this%energy_lost_bits, global_mean(flows%toa_net) * seconds)
    this%energy_moved = this%energy_moved + global_mean(flows%toa_solar + flows%outgoing) * seconds
    to_sea = merge(flows%runoff, flows%rain - flows%evaporation, is_land)
    this%water_in = this%water_in - global_mean(to_sea) * seconds
    this%water_moved = this%water_moved + global_mean(flows%rain) * seconds
  end subroutine budget_post

  !> Error of the energy book as a share of all energy that passed the top of the atmosphere.
  real(dp) function budget_energy_error(this, air, ground)
    class(budget), intent(in) :: this
    type(air_state), intent(in) :: air
    type(ground_state), intent(in) :: ground
    budget_energy_error = abs(energy_of(air, ground) - this%first_energy - this%energy_in) / this%energy_moved
  end function budget_energy_error

  !> Error of the water book as a share of all rain.
  real(dp) function budget_water_error(this, air, ground)
    class(budget), intent(in) :: this
    type(air_state), intent(in) :: air
    type(ground_state), intent(in) :: ground
    budget_water_error = abs(water_of(air, ground) - this%first_water - this%water_in) / this%water_moved
  end function budget_water_error

  !> Kahan's sum: small steps onto a large total.
  pure subroutine add_exactly(total, lost, amount)
    real(dp), intent(inout) :: total, lost
    real(dp), intent(in) :: amount
    real(dp) :: corrected, next
    corrected = amount - lost
    next = total + corrected
    lost = (next - total) - corrected
    total = next
  end subroutine add_exactly

end module budgets
