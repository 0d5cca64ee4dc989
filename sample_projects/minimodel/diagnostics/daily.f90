!> One line a day: the state of the globe.
module daily
  use kinds, only: dp
  use constants, only: density_ice, latent_fusion
  use grid, only: nlon, nlat, nlev, area, global_mean, column_total
  use geography, only: is_land
  use fields, only: air_state, ground_state, exchange
  use clib, only: table_heading, table_row, mean, deviation, quantile
  use budgets, only: budget
  implicit none
  private
  integer, parameter :: width = 10
  public :: daily_heading, daily_row, extremes

contains

  subroutine daily_heading()
    call table_heading('day skin_C air_C vapour_mm solar_W OLR_W cloud_% ice_1e12t', 8, width)
  end subroutine daily_heading

  subroutine daily_row(day, air, ground, flows)
    integer, intent(in) :: day
    type(air_state), intent(in) :: air
    type(ground_state), intent(in) :: ground
    type(exchange), intent(in) :: flows
    call table_row([real(day, dp), global_mean(ground%skin) - 273.15_dp, &
                    global_mean(air%temperature(:, :, nlev)) - 273.15_dp, &
                    global_mean(column_total(air%humidity)), global_mean(flows%toa_solar), &
                    global_mean(flows%outgoing), 100.0_dp * global_mean(flows%cloud), ice_mass(ground)], width, 2)
  end subroutine daily_row

  !> 1e12 tonnes.
  pure real(dp) function ice_mass(ground)
    type(ground_state), intent(in) :: ground
    real(dp) :: lacking(nlon, nlat)
    integer :: j
    lacking = merge(0.0_dp, max(-ground%ocean_heat, 0.0_dp), is_land)
    ice_mass = 0.0_dp
    do j = 1, nlat
      ice_mass = ice_mass + area(j) * sum(lacking(:, j)) / latent_fusion
    end do
    ice_mass = ice_mass / 1.0e15_dp
  end function ice_mass

  !> How skin temperatures are spread over the sphere.
  subroutine extremes(ground)
    type(ground_state), intent(in) :: ground
    real(dp) :: weights(nlon, nlat)
    weights = spread(area, 1, nlon)
    call table_heading('mean_C spread_K coldest_5% median warmest_5%', 5, 13)
    call table_row([mean(ground%skin, weights) - 273.15_dp, deviation(ground%skin, weights), &
                    quantile(ground%skin, weights, 0.05_dp) - 273.15_dp, &
                    quantile(ground%skin, weights, 0.5_dp) - 273.15_dp, &
                    quantile(ground%skin, weights, 0.95_dp) - 273.15_dp], 13, 1)
  end subroutine extremes

end module daily
