#include "model_config.h"
!> The latitude-longitude grid and the layers.  Layer 1 is the top one, layer nlev touches the surface; the surface
!> pressure is fixed.  Cells count from 0 E eastward and from the south pole northward.
module grid
  use kinds, only: dp
  use constants, only: degree, earth_radius, pi_, kappa, gravity
  implicit none
  private
  integer, parameter, public :: nlon = CONFIG_NLON
  integer, parameter, public :: nlat = CONFIG_NLAT
  integer, parameter, public :: nlev = CONFIG_NLEV
  real(dp), parameter, public :: surface_pressure = 1.0e5_dp    ! Pa

  real(dp), public, protected :: longitude(nlon)                ! degrees east, cell centres
  real(dp), public, protected :: latitude(nlat)                 ! degrees north, cell centres
  real(dp), public, protected :: sin_lat(nlat), cos_lat(nlat)
  real(dp), public, protected :: cos_edge(0:nlat)               ! cosine of the latitudes of the cells' edges
  real(dp), public, protected :: area(nlat)                     ! m2 of one cell
  real(dp), public, protected :: width(nlat)                    ! m, west to east through the centre
  real(dp), public, protected :: height                         ! m, south to north
  real(dp), public, protected :: edge_width(0:nlat)             ! m, of the edges that face north or south
  real(dp), public, protected :: p_edge(0:nlev)                 ! Pa
  real(dp), public, protected :: p_mid(nlev), p_thick(nlev)     ! Pa
  real(dp), public, protected :: mass(nlev)                     ! kg m-2
  real(dp), public, protected :: exner(nlev)                    ! (p/p0)**kappa
  real(dp), public, protected :: sphere                         ! m2, all cells
  public :: grid_setup, global_mean, column_total

contains

  subroutine grid_setup()
    real(dp) :: edge(0:nlat), sigma
    integer :: i, j, k
    do i = 1, nlon
      longitude(i) = (i - 0.5_dp) * 360.0_dp / nlon
    end do
    do j = 0, nlat
      edge(j) = -90.0_dp + 180.0_dp * j / nlat
      cos_edge(j) = merge(0.0_dp, cos(edge(j) * degree), j == 0 .or. j == nlat)
    end do
    height = earth_radius * pi_ / nlat
    do j = 1, nlat
      latitude(j) = 0.5_dp * (edge(j - 1) + edge(j))
      sin_lat(j) = sin(latitude(j) * degree)
      cos_lat(j) = cos(latitude(j) * degree)
      area(j) = earth_radius**2 * (2.0_dp * pi_ / nlon) * (sin(edge(j) * degree) - sin(edge(j - 1) * degree))
      width(j) = earth_radius * cos_lat(j) * 2.0_dp * pi_ / nlon
    end do
    edge_width = earth_radius * cos_edge * 2.0_dp * pi_ / nlon
    sphere = nlon * sum(area)
    ! Layers thin towards the surface: sigma = s(2-s) squeezed a little.
    do k = 0, nlev
      sigma = real(k, dp) / nlev
      p_edge(k) = surface_pressure * sigma * (1.6_dp - 0.6_dp * sigma)
    end do
    p_thick = p_edge(1:nlev) - p_edge(0:nlev - 1)
    p_mid = 0.5_dp * (p_edge(1:nlev) + p_edge(0:nlev - 1))
    mass = p_thick / gravity
    exner = (p_mid / surface_pressure)**kappa
  end subroutine grid_setup

  !> The mean of a field over the sphere, weighted with the cells' areas.
  pure real(dp) function global_mean(field)
    real(dp), intent(in) :: field(nlon, nlat)
    integer :: j
    global_mean = 0.0_dp
    do j = 1, nlat
      global_mean = global_mean + area(j) * sum(field(:, j))
    end do
    global_mean = global_mean / sphere
  end function global_mean

  !> Sum over the layers of value times mass (per m2).
  pure function column_total(values) result(total)
    real(dp), intent(in) :: values(nlon, nlat, nlev)
    real(dp) :: total(nlon, nlat)
    integer :: k
    total = 0.0_dp
    do k = 1, nlev
      total = total + values(:, :, k) * mass(k)
    end do
  end function column_total

end module grid
