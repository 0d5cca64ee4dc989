!> The strength of the waves along a circle of latitude, from the C library's Fourier transform.
module waves
  use kinds, only: dp
  use grid, only: nlon, nlat, nlev, latitude, p_mid
  use fields, only: air_state
  use clib, only: power_spectrum, table_heading, table_row
  implicit none
  private
  integer, parameter :: shown = 6
  public :: print_waves

contains

  !> Amplitudes (K) of zonal waves 1 .. 6 of the temperature near 500 hPa, at the circles nearest the given latitudes.
  subroutine print_waves(air, latitudes)
    type(air_state), intent(in) :: air
    real(dp), intent(in) :: latitudes(:)
    real(dp) :: power(0:nlon / 2), row(shown + 1)
    integer :: i, j, level
    level = minloc(abs(p_mid - 5.0e4_dp), dim=1)
    call table_heading('latitude wave1_K wave2_K wave3_K wave4_K wave5_K wave6_K', shown + 1, 10)
    do i = 1, size(latitudes)
      j = nearest_circle(latitudes(i))
      power = power_spectrum(air%temperature(:, j, level))
      row(1) = latitude(j)
      row(2:) = sqrt(2.0_dp * power(1:shown))
      call table_row(row, 10, 2)
    end do
  end subroutine print_waves

  pure integer function nearest_circle(north)
    real(dp), intent(in) :: north
    nearest_circle = minloc(abs(latitude - north), dim=1)
  end function nearest_circle

end module waves
