#include "model_config.h"
!> minimodel SETTINGS: a small climate model.  Prints a log, checks its books, exits 0 if they close.
program minimodel
  use kinds, only: dp
  use settings, only: run_settings, read_settings
  use calendar, only: date, date_of
  use grid, only: grid_setup
  use geography, only: geography_setup
  use stepping, only: climate
  use daily, only: daily_heading, daily_row, extremes
  use products, only: write_products, print_map, print_means, save_restart
  implicit none
#ifndef ENERGY_TOLERANCE
#define ENERGY_TOLERANCE 1.0e-10_dp
#endif
  real(dp), parameter :: tolerance = ENERGY_TOLERANCE
  type(climate), allocatable :: world
  type(run_settings) :: run
  type(date) :: today
  character(len=256) :: path
  logical :: sound
  integer :: i

  call get_command_argument(1, path)
  if (len_trim(path) == 0) path = 'run.conf'
  call grid_setup()
  call geography_setup()
  run = read_settings(path)
  call run%describe()
  allocate (world)
  call world%begin(run)
  today = date_of(world%time)
  print '(2a)', 'begins ', today%text()
  call daily_heading()
  do i = 1, run%steps()
    call world%advance()
    if (world%ends_day()) call daily_row(nint(world%time / 86400.0_dp), world%air, world%ground, world%flows)
  end do
  today = date_of(world%time)
  print '(2a)', 'ends ', today%text()
  print '(a)', ''
  call print_means(world%means, world%air)
  print '(a)', ''
  call extremes(world%ground)
  print '(a)', ''
  call print_map(world%ground)
  call write_products(run%netcdf, run%image, world%air, world%ground, world%flows)
  call save_restart(run%restart, world%air, world%ground)
  print '(a)', ''
  sound = .true.
  call verdict('energy', world%books%energy_error(world%air, world%ground))
  call verdict('water', world%books%water_error(world%air, world%ground))
  call expect('rain between 1 and 6 mm a day', &
              world%means%rain_everywhere() > 1.0_dp .and. world%means%rain_everywhere() < 6.0_dp)
  call expect('no negative humidity', all(world%air%humidity >= 0.0_dp))
  call expect('temperatures between 150 and 350 K', &
              all(world%air%temperature > 150.0_dp .and. world%air%temperature < 350.0_dp))
  if (.not. sound) stop 1

contains

  subroutine verdict(what, error)
    character(len=*), intent(in) :: what
    real(dp), intent(in) :: error
    if (error >= tolerance) print '(3a,es9.2)', 'conservation of ', what, ': error ', error
    call expect('conservation of ' // what, error < tolerance)
  end subroutine verdict

  subroutine expect(what, holds)
    character(len=*), intent(in) :: what
    logical, intent(in) :: holds
    print '(3a)', what, ': ', merge('PASS', 'FAIL', holds)
    sound = sound .and. holds
  end subroutine expect

end program minimodel
