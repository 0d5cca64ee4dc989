!> Clouds are diagnosed from relative humidity; they hold no water of their own.
module clouds
  use kinds, only: dp
  use constants, only: freezing
  use grid, only: nlev, p_mid, p_thick, surface_pressure
  use columns, only: air_column
  use vapour, only: saturation
  use spectrum, only: nlong, nshort
  implicit none
  private
  type, public :: cloud_column
    real(dp) :: cover(nlev)               ! 0 .. 1
    real(dp) :: depth(nlev)               ! optical depth in the visible
    real(dp) :: emissivity(nlong, nlev)
    real(dp) :: seen_from_above           ! 0 .. 1
  end type cloud_column
  !> Share of the scattered sunlight that a cloud absorbs, by band.
  real(dp), parameter, public :: cloud_absorption(nshort) = [0.0_dp, 0.001_dp, 0.01_dp, 0.12_dp]
  real(dp), parameter :: band_weight(nlong) = &
    [0.7_dp, 0.9_dp, 1.0_dp, 1.0_dp, 1.0_dp, 1.0_dp, 0.95_dp, 0.85_dp]
  public :: diagnose_clouds

contains

  type(cloud_column) function diagnose_clouds(column) result(cloud)
    type(air_column), intent(in) :: column
    real(dp) :: relative(nlev), threshold, wet, ice, clear_above
    integer :: k
    relative = column%q / max(saturation(column%t, p_mid), 1.0e-9_dp)
    clear_above = 1.0_dp
    do k = 1, nlev
      threshold = 0.82_dp - 0.14_dp * sin(3.14159_dp * p_mid(k) / surface_pressure)
      wet = min(max((relative(k) - threshold) / (1.0_dp - threshold), 0.0_dp), 1.0_dp)
      cloud%cover(k) = merge(0.25_dp * wet**2 * p_thick(k) / 1.0e4_dp, 0.0_dp, p_mid(k) > 1.2e4_dp)
      ice = min(max((freezing - column%t(k)) / 40.0_dp, 0.0_dp), 1.0_dp)
      cloud%depth(k) = (18.0_dp - 14.0_dp * ice) * p_thick(k) / 1.2e4_dp
      cloud%emissivity(:, k) = 1.0_dp - exp(-0.6_dp * band_weight * cloud%depth(k))
      clear_above = clear_above * (1.0_dp - cloud%cover(k))
    end do
    cloud%seen_from_above = 1.0_dp - clear_above
  end function diagnose_clouds

end module clouds
