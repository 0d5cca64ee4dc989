#include "model_config.h"
!> What the user can choose for a run.
module settings
  use kinds, only: dp
  use clib, only: load_settings, setting, text_setting
  use grid, only: nlon, nlat, nlev
  implicit none
  private
  type, public :: run_settings
    integer :: days, first_day, radiation_steps, seed
    real(dp) :: step_seconds, co2_ppm, noise_kelvin
    character(len=:), allocatable :: netcdf, image, restart
  contains
    procedure :: steps => run_steps
    procedure :: describe => run_describe
  end type run_settings
  public :: read_settings

contains

  type(run_settings) function read_settings(path) result(run)
    character(len=*), intent(in) :: path
    call load_settings(path)
    run%days = nint(setting('days', 10.0_dp))
    run%first_day = nint(setting('first_day', 1.0_dp))
    run%step_seconds = setting('step_seconds', 3600.0_dp)
    run%radiation_steps = nint(setting('radiation_steps', 3.0_dp))
    run%co2_ppm = setting('co2_ppm', 400.0_dp)
    run%noise_kelvin = setting('noise_kelvin', 0.25_dp)
    run%seed = nint(setting('seed', 1.0_dp))
    run%netcdf = text_setting('netcdf', '')
    run%image = text_setting('image', '')
    run%restart = text_setting('restart', '')
    call require(run%days >= 1 .and. run%days <= 36500, 'days: 1 .. 36500')
    call require(run%step_seconds >= 60.0_dp .and. run%step_seconds <= 7200.0_dp, 'step_seconds: 60 .. 7200')
    call require(modulo(86400.0_dp, run%step_seconds) < 1.0e-6_dp, 'step_seconds: a divisor of 86400')
    call require(run%radiation_steps >= 1, 'radiation_steps: at least 1')
    call require(run%co2_ppm > 0.0_dp, 'co2_ppm: above 0')
  end function read_settings

  integer function run_steps(this)
    class(run_settings), intent(in) :: this
    run_steps = nint(this%days * 86400.0_dp / this%step_seconds)
  end function run_steps

  subroutine run_describe(this)
    class(run_settings), intent(in) :: this
    print '(a,i0,a,i0,a,i0,a,i0,a,i0,a,i0,a)', 'minimodel: ', nlon, ' x ', nlat, ' x ', nlev, ', step ', &
      nint(this%step_seconds), ' s, ', this%days, ' days, CO2 ', nint(this%co2_ppm), ' ppm'
#if CONFIG_NLON * CONFIG_NLAT < 64
    print '(a)', 'minimodel: a grid this coarse is for tests only'
#endif
  end subroutine run_describe

  subroutine require(holds, expectation)
    logical, intent(in) :: holds
    character(len=*), intent(in) :: expectation
    if (holds) return
    print '(2a)', 'minimodel: expected ', expectation
    stop 2
  end subroutine require

end module settings
