!> Transport of a tracer by the wind: finite volumes, second order where the field is smooth, flux form, no new extrema.
module advection
  use kinds, only: dp
  use grid, only: nlon, nlat, nlev, width, height
  use winds, only: eastward, northward
  use limiters, only: van_leer
  implicit none
  private
  public :: advect

contains

  subroutine advect(tracer, step)
    real(dp), intent(inout) :: tracer(nlon, nlat, nlev)
    real(dp), intent(in) :: step
    real(dp) :: east(nlon, nlat), north(nlon, 0:nlat), cell
    integer :: i, j, k, west
    do k = 1, nlev
      call flux_east(tracer(:, :, k), eastward(:, :, k), step, east)
      call flux_north(tracer(:, :, k), northward(:, :, k), step, north)
      do j = 1, nlat
        cell = width(j) * height
        do i = 1, nlon
          west = merge(nlon, i - 1, i == 1)
          tracer(i, j, k) = tracer(i, j, k) &
            - step / cell * (east(i, j) - east(west, j) + north(i, j) - north(i, j - 1))
        end do
      end do
    end do
  end subroutine advect

  pure subroutine flux_east(field, wind, step, flux)
    real(dp), intent(in) :: field(nlon, nlat), wind(nlon, nlat), step
    real(dp), intent(out) :: flux(nlon, nlat)
    real(dp) :: values(nlon), slope(nlon), courant
    integer :: i, j, here, before, after
    do j = 1, nlat
      values = field(:, j)
      do i = 1, nlon
        here = i
        before = merge(nlon, i - 1, i == 1)
        after = merge(1, i + 1, i == nlon)
        include 'limiter_choice.inc'
      end do
      do i = 1, nlon
        after = merge(1, i + 1, i == nlon)
        courant = abs(wind(i, j)) * step / (width(j) * height)
        if (wind(i, j) >= 0.0_dp) then
          flux(i, j) = wind(i, j) * (values(i) + 0.5_dp * (1.0_dp - courant) * slope(i))
        else
          flux(i, j) = wind(i, j) * (values(after) - 0.5_dp * (1.0_dp - courant) * slope(after))
        end if
      end do
    end do
  end subroutine flux_east

  pure subroutine flux_north(field, wind, step, flux)
    real(dp), intent(in) :: field(nlon, nlat), wind(nlon, 0:nlat), step
    real(dp), intent(out) :: flux(nlon, 0:nlat)
    real(dp) :: values(nlat), slope(nlat), courant
    integer :: i, here, before, after, column
    flux(:, 0) = 0.0_dp
    flux(:, nlat) = 0.0_dp
    do column = 1, nlon
      values = field(column, :)
      slope(1) = 0.0_dp
      slope(nlat) = 0.0_dp
      do i = 2, nlat - 1
        here = i
        before = i - 1
        after = i + 1
        include 'limiter_choice.inc'
      end do
      do i = 1, nlat - 1
        if (wind(column, i) >= 0.0_dp) then
          courant = wind(column, i) * step / (width(i) * height)
          flux(column, i) = wind(column, i) * (values(i) + 0.5_dp * (1.0_dp - courant) * slope(i))
        else
          courant = -wind(column, i) * step / (width(i + 1) * height)
          flux(column, i) = wind(column, i) * (values(i + 1) - 0.5_dp * (1.0_dp - courant) * slope(i + 1))
        end if
      end do
    end do
  end subroutine flux_north

end module advection
