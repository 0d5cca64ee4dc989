!> Optical depths of the layers from water vapour, carbon dioxide and ozone.
module gases
  use kinds, only: dp
  use constants, only: gravity
  use grid, only: nlev, mass, p_mid, p_thick, surface_pressure
  use columns, only: air_column
  use spectrum, only: nlong, nshort
  implicit none
  private
  !> m2 per kg of vapour, per kg of CO2, and of the vapour's continuum per kg and per unit of mixing ratio.
  real(dp), parameter :: line_vapour(nlong) = &
    [8.0_dp, 0.9_dp, 0.22_dp, 0.10_dp, 0.05_dp, 0.008_dp, 0.010_dp, 0.9_dp]
  real(dp), parameter :: line_co2(nlong) = &
    [0.0_dp, 0.002_dp, 0.18_dp, 4.0_dp, 0.14_dp, 0.002_dp, 0.004_dp, 0.002_dp]
  real(dp), parameter :: continuum(nlong) = &
    [60.0_dp, 22.0_dp, 10.0_dp, 7.0_dp, 5.0_dp, 3.2_dp, 3.0_dp, 12.0_dp]
  real(dp), parameter :: line_ozone(nlong) = &
    [0.0_dp, 0.0_dp, 0.0_dp, 0.0_dp, 0.0_dp, 0.05_dp, 0.6_dp, 0.0_dp]
  real(dp), parameter :: sun_vapour(nshort) = [0.0_dp, 0.0004_dp, 0.006_dp, 0.07_dp]
  real(dp), parameter :: sun_ozone(nshort) = [1.4_dp, 0.028_dp, 0.0_dp, 0.0_dp]
  real(dp), parameter :: rayleigh(nshort) = [0.75_dp, 0.12_dp, 0.018_dp, 0.002_dp]
  real(dp), parameter :: co2_to_mass = 44.0_dp / 29.0_dp * 1.0e-6_dp

  integer, parameter :: table_size = 2000
  real(dp), parameter :: table_depth = 40.0_dp
  real(dp) :: transmission(0:table_size)

  real(dp) :: ozone(nlev)            ! share of the whole ozone column in each layer
  public :: gases_setup, longwave_depth, sun_absorption_depth, rayleigh_depth, diffuse_transmission

  interface
    subroutine trtabl(n, taumax, table)
      import :: dp
      integer, intent(in) :: n
      real(dp), intent(in) :: taumax
      real(dp), intent(out) :: table(0:n)
    end subroutine trtabl
  end interface

contains

  subroutine gases_setup()
    call trtabl(table_size, table_depth, transmission)
    ozone = p_thick * exp(-p_mid / 6.0e3_dp)
    ozone = ozone / sum(ozone)
  end subroutine gases_setup

  !> (band, layer); pressure broadening is linear.
  pure function longwave_depth(column, co2_ppm) result(depth)
    type(air_column), intent(in) :: column
    real(dp), intent(in) :: co2_ppm
    real(dp) :: depth(nlong, nlev), broad, vapour, co2
    integer :: k
    do k = 1, nlev
      broad = p_mid(k) / surface_pressure
      vapour = column%q(k) * mass(k)
      co2 = co2_ppm * co2_to_mass * mass(k)
      depth(:, k) = broad * (line_vapour * vapour + line_co2 * co2) &
        + continuum * vapour * column%q(k) * broad * (296.0_dp / column%t(k))**6 + line_ozone * ozone(k)
    end do
  end function longwave_depth

  pure function sun_absorption_depth(column) result(depth)
    type(air_column), intent(in) :: column
    real(dp) :: depth(nshort, nlev)
    integer :: k
    do k = 1, nlev
      depth(:, k) = sun_vapour * column%q(k) * mass(k) * (p_mid(k) / surface_pressure) + sun_ozone * ozone(k)
    end do
  end function sun_absorption_depth

  pure function rayleigh_depth() result(depth)
    real(dp) :: depth(nshort, nlev)
    integer :: k
    do k = 1, nlev
      depth(:, k) = rayleigh * p_thick(k) / surface_pressure
    end do
  end function rayleigh_depth

  !> 2 E3(depth) from the table, interpolated.
  elemental real(dp) function diffuse_transmission(depth)
    real(dp), intent(in) :: depth
    real(dp) :: place, part
    integer :: i
    place = sqrt(min(depth, table_depth) / table_depth) * table_size
    i = min(int(place), table_size - 1)
    part = place - i
    diffuse_transmission = (1.0_dp - part) * transmission(i) + part * transmission(i + 1)
  end function diffuse_transmission

end module gases
