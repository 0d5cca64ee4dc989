!> The horizontal transport of one step.  The surface pressure is fixed, so temperature itself is carried.
module dynamics
  use kinds, only: dp
  use constants, only: seconds_per_day
  use fields, only: air_state
  use winds, only: winds_setup, courant_number, surface_wind
  use advection, only: advect
  use eddies, only: diffuse
  implicit none
  private
  real(dp), parameter :: vapour_share = 0.45_dp
  public :: dynamics_setup, transport, surface_wind

contains

  !> Chooses the season's wind; stops if the step is too long for it.
  subroutine dynamics_setup(day, step)
    real(dp), intent(in) :: day, step
    call winds_setup(day)
    if (courant_number(step) > 0.95_dp) then
      print '(a,f6.2,a)', 'minimodel: the Courant number is ', courant_number(step), ': choose a shorter step'
      stop 2
    end if
  end subroutine dynamics_setup

  subroutine transport(air, step)
    type(air_state), intent(inout) :: air
    real(dp), intent(in) :: step
    call advect(air%temperature, step)
    call advect(air%humidity, step)
    call diffuse(air%temperature, 1.0_dp, step)
    call diffuse(air%humidity, vapour_share, step)
  end subroutine transport

end module dynamics
