!> Means over time along the circles of latitude, printed as a table in bands.
module zonal
  use kinds, only: dp
  use grid, only: nlon, nlat, latitude, area
  use fields, only: ground_state, exchange
  use clib, only: table_heading, table_row
  implicit none
  private
  integer, parameter :: quantities = 6
  type, public :: zonal_means
    private
    real(dp) :: sums(nlat, quantities) = 0.0_dp
    integer :: steps = 0
  contains
    procedure :: add => zonal_add
    procedure :: print => zonal_print
    procedure :: rain_everywhere => zonal_rain
  end type zonal_means

contains

  subroutine zonal_add(this, ground, flows)
    class(zonal_means), intent(inout) :: this
    type(ground_state), intent(in) :: ground
    type(exchange), intent(in) :: flows
    this%steps = this%steps + 1
    call add_one(1, ground%skin - 273.15_dp)
    call add_one(2, flows%rain * 86400.0_dp)
    call add_one(3, flows%evaporation * 86400.0_dp)
    call add_one(4, flows%toa_solar)
    call add_one(5, flows%outgoing)
    call add_one(6, 100.0_dp * flows%cloud)
  contains
    subroutine add_one(which, field)
      integer, intent(in) :: which
      real(dp), intent(in) :: field(nlon, nlat)
      this%sums(:, which) = this%sums(:, which) + sum(field, dim=1) / nlon
    end subroutine add_one
  end subroutine zonal_add

  !> Twelve bands or fewer, from the north; a band's mean is weighted with area.
  subroutine zonal_print(this)
    class(zonal_means), intent(in) :: this
    real(dp) :: row(quantities + 1)
    integer :: band, bands, first, last, q
    bands = min(12, nlat)
    call table_heading('latitude skin_C rain_mm/d evap_mm/d solar_W/m2 OLR_W/m2 cloud_%', quantities + 1, 12)
    do band = bands, 1, -1
      first = (band - 1) * nlat / bands + 1
      last = band * nlat / bands
      row(1) = 0.5_dp * (latitude(first) + latitude(last))
      do q = 1, quantities
        row(q + 1) = sum(this%sums(first:last, q) * area(first:last)) / (sum(area(first:last)) * this%steps)
      end do
      call table_row(row, 12, 1)
    end do
  end subroutine zonal_print

  !> mm per day, mean over the sphere and the run.
  pure real(dp) function zonal_rain(this)
    class(zonal_means), intent(in) :: this
    zonal_rain = sum(this%sums(:, 2) * area) / (sum(area) * this%steps)
  end function zonal_rain

end module zonal
