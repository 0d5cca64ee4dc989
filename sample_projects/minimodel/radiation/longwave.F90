!> Thermal radiation: upward and downward flux in every band, layers isothermal, clouds grey and randomly overlapping.
module longwave
  use kinds, only: dp
  use grid, only: nlev
  use columns, only: air_column
  use spectrum, only: nlong, band_emission
  use gases, only: longwave_depth, diffuse_transmission
  use clouds, only: cloud_column
  implicit none
  private
#ifndef GROUND_EMISSIVITY
#define GROUND_EMISSIVITY 0.98_dp
#endif
  real(dp), parameter, public :: ground_emissivity = GROUND_EMISSIVITY
  public :: thermal

contains

  !> `net(k)`: downward less upward flux (W m-2) at the edge below layer k; net(0) is at the top of the atmosphere.
  subroutine thermal(column, cloud, skin, co2_ppm, net)
    type(air_column), intent(in) :: column
    type(cloud_column), intent(in) :: cloud
    real(dp), intent(in) :: skin, co2_ppm
    real(dp), intent(out) :: net(0:nlev)
    real(dp) :: through(nlong, nlev), source(nlong, nlev), down(nlong, 0:nlev), up(nlong, 0:nlev)
    integer :: k
    through = diffuse_transmission(longwave_depth(column, co2_ppm))
    do k = 1, nlev
      through(:, k) = through(:, k) * (1.0_dp - cloud%cover(k) * cloud%emissivity(:, k))
      source(:, k) = band_emission(column%t(k))
    end do
    down(:, 0) = 0.0_dp
    do k = 1, nlev
      down(:, k) = down(:, k - 1) * through(:, k) + source(:, k) * (1.0_dp - through(:, k))
    end do
    up(:, nlev) = ground_emissivity * band_emission(skin) + (1.0_dp - ground_emissivity) * down(:, nlev)
    do k = nlev, 1, -1
      up(:, k - 1) = up(:, k) * through(:, k) + source(:, k) * (1.0_dp - through(:, k))
    end do
    net = sum(down - up, dim=1)
  end subroutine thermal

end module longwave
