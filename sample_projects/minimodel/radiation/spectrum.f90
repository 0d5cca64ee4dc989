!> The bands: eight in the longwave with Planck's fractions by temperature, four in the sunlight.
module spectrum
  use kinds, only: dp
  use constants, only: stefan_boltzmann
  implicit none
  private
  integer, parameter, public :: nlong = 8, nshort = 4
  !> Edges of the longwave bands, 1/cm: far rotation, rotation, 15 micron wing, 15 micron, wing, window, ozone, 6.3 micron.
  real(dp), parameter :: edges(0:nlong) = &
    [0.0_dp, 250.0_dp, 500.0_dp, 620.0_dp, 720.0_dp, 800.0_dp, 980.0_dp, 1100.0_dp, 1.0e5_dp]
  !> Share of the sun's energy in each short band: ultraviolet, visible, near infrared 1 and 2.
  real(dp), parameter, public :: sun_share(nshort) = [0.08_dp, 0.42_dp, 0.32_dp, 0.18_dp]

  integer, parameter :: first_kelvin = 120, last_kelvin = 380
  real(dp) :: shares(nlong, first_kelvin:last_kelvin)
  public :: spectrum_setup, band_emission

  interface
    real(dp) function plfrac(wavnum, t)
      import :: dp
      real(dp), intent(in) :: wavnum, t
    end function plfrac
  end interface

contains

  subroutine spectrum_setup()
    real(dp) :: above(0:nlong), t
    integer :: kelvin, band
    do kelvin = first_kelvin, last_kelvin
      t = real(kelvin, dp)
      above(0) = 1.0_dp
      do band = 1, nlong - 1
        above(band) = plfrac(edges(band), t)
      end do
      above(nlong) = 0.0_dp
      shares(:, kelvin) = above(0:nlong - 1) - above(1:nlong)
    end do
  end subroutine spectrum_setup

  !> A black body's emission in every band, W m-2; the bands' sum is exactly sigma T**4.
  pure function band_emission(t) result(emission)
    real(dp), intent(in) :: t
    real(dp) :: emission(nlong), place, part
    integer :: kelvin
    place = min(max(t, real(first_kelvin, dp)), real(last_kelvin - 1, dp))
    kelvin = int(place)
    part = place - kelvin
    emission = stefan_boltzmann * t**4 * ((1.0_dp - part) * shares(:, kelvin) + part * shares(:, kelvin + 1))
  end function band_emission

end module spectrum
