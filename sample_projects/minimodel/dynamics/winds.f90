!> A climatological wind, from a stream function at the cells' corners: free of divergence to the last bit.
module winds
  use kinds, only: dp
  use constants, only: pi_, degree
  use grid, only: nlon, nlat, nlev, height, edge_width, width, cos_lat, latitude, p_mid, surface_pressure, cos_edge
  implicit none
  private
  !> Air that crosses the eastern face of a cell (height times wind) and its northern face, m2/s.
  real(dp), public, protected :: eastward(nlon, nlat, nlev)
  real(dp), public, protected :: northward(nlon, 0:nlat, nlev)
  real(dp), public, protected :: surface_wind(nlat)        ! m/s, speed at the lowest layer
  public :: winds_setup, courant_number

contains

  !> `season`: day of the year; the jet of the winter hemisphere is the stronger one.
  subroutine winds_setup(season)
    real(dp), intent(in) :: season
    real(dp) :: psi(0:nlon, 0:nlat)
    integer :: i, j, k
    do k = 1, nlev
      psi(:, 0) = 0.0_dp
      do j = 1, nlat
        psi(:, j) = psi(:, j - 1) - height * zonal_wind(latitude(j), p_mid(k), season)
      end do
      do j = 1, nlat - 1
        do i = 0, nlon
          psi(i, j) = psi(i, j) + wave(modulo(i, nlon), j, k)
        end do
      end do
      do j = 1, nlat
        do i = 1, nlon
          eastward(i, j, k) = psi(i, j - 1) - psi(i, j)
          northward(i, j, k) = psi(i, j) - psi(i - 1, j)
        end do
      end do
      northward(:, 0, k) = 0.0_dp
      northward(:, nlat, k) = 0.0_dp
    end do
    do j = 1, nlat
      surface_wind(j) = 3.0_dp + abs(zonal_wind(latitude(j), p_mid(nlev), season))
    end do
  end subroutine winds_setup

  !> Trades, westerlies and polar easterlies at the ground, a jet above the middle latitudes; m/s.
  pure real(dp) function zonal_wind(north, pressure, season)
    real(dp), intent(in) :: north, pressure, season
    real(dp) :: phi, aloft, winter
    phi = north * degree
    aloft = 1.0_dp - pressure / surface_pressure
    winter = cos(2.0_dp * pi_ * (season - 15.0_dp) / 365.0_dp) * sign(1.0_dp, north)
    zonal_wind = -7.0_dp * cos(3.0_dp * phi) * cos(phi) + (34.0_dp + 8.0_dp * winter) * aloft * sin(2.0_dp * phi)**2
    zonal_wind = zonal_wind * min(1.0_dp, cos(phi) / 0.3_dp)
  end function zonal_wind

  !> Standing waves, strongest at 45 degrees.
  pure real(dp) function wave(i, j, k)
    integer, intent(in) :: i, j, k
    real(dp) :: lambda, amplitude
    lambda = 2.0_dp * pi_ * i / nlon
    amplitude = 6.0e6_dp * (4.0_dp * cos_edge(j)**2 * (1.0_dp - cos_edge(j)**2))**2
    wave = amplitude * (sin(2.0_dp * lambda + 0.4_dp) + 0.5_dp * cos(3.0_dp * lambda - 1.1_dp)) &
      * (1.2_dp - p_mid(k) / surface_pressure)
  end function wave

  !> The largest share of a cell that is blown out in one step; must stay below 1.
  pure real(dp) function courant_number(step)
    real(dp), intent(in) :: step
    real(dp) :: out
    integer :: i, j, k, west
    courant_number = 0.0_dp
    do k = 1, nlev
      do j = 1, nlat
        do i = 1, nlon
          west = merge(nlon, i - 1, i == 1)
          out = max(eastward(i, j, k), 0.0_dp) - min(eastward(west, j, k), 0.0_dp) &
            + max(northward(i, j, k), 0.0_dp) - min(northward(i, j - 1, k), 0.0_dp)
          courant_number = max(courant_number, out * step / (width(j) * height))
        end do
      end do
    end do
  end function courant_number

end module winds
