!> Radiation of all columns: what each layer and the ground gain, and what leaves to space.
module radiation
  use kinds, only: dp
  use grid, only: nlon, nlat, nlev
  use fields, only: air_state, ground_state, exchange
  use columns, only: air_column, take_column
  use spectrum, only: spectrum_setup
  use gases, only: gases_setup
  use clouds, only: cloud_column, diagnose_clouds
  use insolation, only: sunshine, sunshine_over
  use shortwave, only: sunlight
  use longwave, only: thermal
  implicit none
  private
  public :: radiation_setup, radiate

contains

  subroutine radiation_setup()
    call spectrum_setup()
    call gases_setup()
  end subroutine radiation_setup

  !> Valid for the `interval` seconds from `time`; the sums of `flows` close exactly: top = layers + ground.
  subroutine radiate(air, ground, time, interval, co2_ppm, flows)
    type(air_state), intent(in) :: air
    type(ground_state), intent(in) :: ground
    real(dp), intent(in) :: time, interval, co2_ppm
    type(exchange), intent(inout) :: flows
    type(sunshine) :: sun
    type(air_column) :: column
    type(cloud_column) :: cloud
    real(dp) :: solar(0:nlev), infrared(0:nlev), incoming
    integer :: i, j
    sun = sunshine_over(time, interval)
    do j = 1, nlat
      do i = 1, nlon
        column = take_column(air, i, j)
        cloud = diagnose_clouds(column)
        incoming = sun%flux * sun%cosine(i, j) * sun%lit(i, j)
        solar = 0.0_dp
        if (incoming > 0.0_dp) then
          call sunlight(column, cloud, sun%cosine(i, j), ground%albedo(i, j), solar)
          solar = solar * incoming
        end if
        call thermal(column, cloud, ground%skin(i, j), co2_ppm, infrared)
        flows%toa_solar(i, j) = solar(0)
        flows%outgoing(i, j) = -infrared(0)
        flows%toa_net(i, j) = solar(0) + infrared(0)
        flows%ground_solar(i, j) = solar(nlev)
        flows%ground_longwave(i, j) = infrared(nlev)
        flows%heating(i, j, :) = solar(0:nlev - 1) - solar(1:nlev) + infrared(0:nlev - 1) - infrared(1:nlev)
        flows%cloud(i, j) = cloud%seen_from_above
      end do
    end do
  end subroutine radiate

end module radiation
