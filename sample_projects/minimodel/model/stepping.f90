!> One step of the whole model, in the order in which its parts act on each other.
module stepping
  use kinds, only: dp
  use constants, only: seconds_per_day
  use settings, only: run_settings
  use calendar, only: day_of_year
  use fields, only: air_state, ground_state, exchange, clear
  use radiation, only: radiation_setup, radiate
  use physics, only: step_land_cells, step_columns, refresh_land
  use dynamics, only: dynamics_setup, transport, surface_wind
  use ocean, only: step_ocean, refresh_sea
  use budgets, only: budget
  use zonal, only: zonal_means
  use initial, only: initialise
  implicit none
  private
  type, public :: climate
    type(run_settings) :: run
    type(air_state) :: air
    type(ground_state) :: ground
    type(exchange) :: flows
    type(budget) :: books
    type(zonal_means) :: means
    real(dp) :: time = 0.0_dp        ! s since the first of January of year 1
    integer :: step = 0
  contains
    procedure :: begin => climate_begin
    procedure :: advance => climate_advance
    procedure :: ends_day => climate_ends_day
  end type climate

contains

  subroutine climate_begin(this, run)
    class(climate), intent(inout) :: this
    type(run_settings), intent(in) :: run
    this%run = run
    this%time = (run%first_day - 1) * seconds_per_day
    call radiation_setup()
    call dynamics_setup(day_of_year(this%time), run%step_seconds)
    call initialise(run%seed, run%noise_kelvin, this%air, this%ground)
    call clear(this%flows)
    call refresh_land(this%ground)
    call refresh_sea(this%ground)
    call this%books%open(this%air, this%ground)
  end subroutine climate_begin

  subroutine climate_advance(this)
    class(climate), intent(inout) :: this
    real(dp) :: step
    step = this%run%step_seconds
    if (mod(this%step, this%run%radiation_steps) == 0) then
      call refresh_land(this%ground)
      call refresh_sea(this%ground)
      call radiate(this%air, this%ground, this%time, step * this%run%radiation_steps, this%run%co2_ppm, this%flows)
    end if
    call step_land_cells(this%air, this%ground, this%flows, surface_wind, step)
    call step_ocean(this%air, this%ground, this%flows, surface_wind, step)
    call step_columns(this%air, this%ground, this%flows, step)
    call transport(this%air, step)
    call this%books%post(this%flows, step)
    call this%means%add(this%ground, this%flows)
    this%step = this%step + 1
    this%time = this%time + step
    if (this%ends_day()) call dynamics_setup(day_of_year(this%time), step)
  end subroutine climate_advance

  logical function climate_ends_day(this)
    class(climate), intent(in) :: this
    climate_ends_day = modulo(this%time + 0.5_dp, seconds_per_day) < 1.0_dp
  end function climate_ends_day

end module stepping
