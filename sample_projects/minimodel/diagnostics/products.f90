!> The run's files (netCDF, picture, restart) and the map in the log.
module products
  use kinds, only: dp
  use grid, only: nlon, nlat, nlev, longitude, latitude, column_total
  use geography, only: is_land
  use fields, only: air_state, ground_state, exchange
  use clib, only: write_netcdf, write_image, write_checkpoint, read_checkpoint, ascii_map
  use zonal, only: zonal_means
  use waves, only: print_waves
  implicit none
  private
  public :: write_products, print_map, print_means, save_restart

contains

  subroutine write_products(netcdf, image, air, ground, flows)
    character(len=*), intent(in) :: netcdf, image
    type(air_state), intent(in) :: air
    type(ground_state), intent(in) :: ground
    type(exchange), intent(in) :: flows
    real(dp), allocatable :: fields(:, :, :)
    character(len=12), parameter :: names(7) = [character(len=12) :: &
      'skin', 'albedo', 'air', 'vapour', 'rain', 'olr', 'cloud']
    allocate (fields(nlon, nlat, size(names)))
    fields(:, :, 1) = ground%skin
    fields(:, :, 2) = ground%albedo
    fields(:, :, 3) = air%temperature(:, :, nlev)
    fields(:, :, 4) = column_total(air%humidity)
    fields(:, :, 5) = flows%rain * 86400.0_dp
    fields(:, :, 6) = flows%outgoing
    fields(:, :, 7) = flows%cloud
    if (len(netcdf) > 0) call write_netcdf(netcdf, longitude, latitude, names, fields)
    if (len(image) > 0) call write_image(image, ground%skin, 233.0_dp, 308.0_dp, 16)
  end subroutine write_products

  subroutine print_map(ground)
    type(ground_state), intent(in) :: ground
    print '(a)', 'skin temperature, . below -20 C ... @ above 28 C:'
    call ascii_map(ground%skin, 247.15_dp, 301.15_dp, '.:-=+*#%@')
  end subroutine print_map

  subroutine print_means(means, air)
    type(zonal_means), intent(in) :: means
    type(air_state), intent(in) :: air
    call means%print()
    print '(a)', ''
    call print_waves(air, [60.0_dp, 45.0_dp, 0.0_dp, -45.0_dp])
  end subroutine print_means

  !> Writes the whole state, reads it back, and stops if it is not the same to the bit.
  subroutine save_restart(path, air, ground)
    character(len=*), intent(in) :: path
    type(air_state), intent(in) :: air
    type(ground_state), intent(in) :: ground
    real(dp), allocatable :: state(:), again(:)
    if (len(path) == 0) return
    state = [reshape(air%temperature, [nlon * nlat * nlev]), reshape(air%humidity, [nlon * nlat * nlev]), &
             reshape(ground%soil_heat, [nlon * nlat]), reshape(ground%soil_water, [nlon * nlat]), &
             reshape(ground%ocean_heat, [nlon * nlat]), reshape(ground%skin, [nlon * nlat])]
    allocate (again(size(state)))
    call write_checkpoint(path, state)
    if (read_checkpoint(path, again) /= 0) stop 4
    if (any(abs(state - again) > 0.0_dp)) stop 4
  end subroutine save_restart

end module products
