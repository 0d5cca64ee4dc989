!> The C library's functions, with Fortran's strings and arrays.
module clib
  use, intrinsic :: iso_c_binding
  use kinds, only: dp
  implicit none
  private
  public :: load_settings, setting, text_setting, seed_random, normal_noise
  public :: mean, deviation, quantile, exact_sum, power_spectrum
  public :: table_heading, table_row, ascii_map, write_image, write_netcdf
  public :: write_checkpoint, read_checkpoint

  interface
    integer(c_int) function clib_settings_load(path) bind(c)
      import
      character(kind=c_char), intent(in) :: path(*)
    end function
    real(c_double) function clib_settings_number(name, otherwise) bind(c)
      import
      character(kind=c_char), intent(in) :: name(*)
      real(c_double), value :: otherwise
    end function
    subroutine clib_settings_text(name, otherwise, text, length) bind(c)
      import
      character(kind=c_char), intent(in) :: name(*), otherwise(*)
      character(kind=c_char), intent(out) :: text(*)
      integer(c_int), value :: length
    end subroutine
    subroutine clib_random_seed(seed) bind(c)
      import
      integer(c_int64_t), value :: seed
    end subroutine
    real(c_double) function clib_random_normal() bind(c)
      import
    end function
    real(c_double) function clib_mean(values, weights, count) bind(c)
      import
      real(c_double), intent(in) :: values(*), weights(*)
      integer(c_int), value :: count
    end function
    real(c_double) function clib_deviation(values, weights, count) bind(c)
      import
      real(c_double), intent(in) :: values(*), weights(*)
      integer(c_int), value :: count
    end function
    real(c_double) function clib_quantile(values, weights, count, fraction) bind(c)
      import
      real(c_double), intent(in) :: values(*), weights(*)
      integer(c_int), value :: count
      real(c_double), value :: fraction
    end function
    real(c_double) function clib_sum(values, count) bind(c)
      import
      real(c_double), intent(in) :: values(*)
      integer(c_int), value :: count
    end function
    subroutine clib_power_spectrum(series, count, power) bind(c)
      import
      real(c_double), intent(in) :: series(*)
      integer(c_int), value :: count
      real(c_double), intent(out) :: power(*)
    end subroutine
    subroutine clib_table_heading(names, columns, width) bind(c)
      import
      character(kind=c_char), intent(in) :: names(*)
      integer(c_int), value :: columns, width
    end subroutine
    subroutine clib_table_row(values, columns, width, decimals) bind(c)
      import
      real(c_double), intent(in) :: values(*)
      integer(c_int), value :: columns, width, decimals
    end subroutine
    subroutine clib_ascii_map(field, nlon, nlat, low, high, symbols) bind(c)
      import
      real(c_double), intent(in) :: field(*)
      integer(c_int), value :: nlon, nlat
      real(c_double), value :: low, high
      character(kind=c_char), intent(in) :: symbols(*)
    end subroutine
    integer(c_int) function clib_write_image(path, field, nlon, nlat, low, high, scale) bind(c)
      import
      character(kind=c_char), intent(in) :: path(*)
      real(c_double), intent(in) :: field(*)
      integer(c_int), value :: nlon, nlat, scale
      real(c_double), value :: low, high
    end function
    integer(c_int) function clib_netcdf_write(path, nlon, nlat, lon, lat, nfields, names, name_size, fields) bind(c)
      import
      character(kind=c_char), intent(in) :: path(*), names(*)
      integer(c_int), value :: nlon, nlat, nfields, name_size
      real(c_double), intent(in) :: lon(*), lat(*), fields(*)
    end function
    integer(c_int) function clib_checkpoint_write(path, values, count) bind(c)
      import
      character(kind=c_char), intent(in) :: path(*)
      real(c_double), intent(in) :: values(*)
      integer(c_int), value :: count
    end function
    integer(c_int) function clib_checkpoint_read(path, values, count) bind(c)
      import
      character(kind=c_char), intent(in) :: path(*)
      real(c_double), intent(out) :: values(*)
      integer(c_int), value :: count
    end function
  end interface

contains

  subroutine load_settings(path)
    character(len=*), intent(in) :: path
    integer :: wrong
    wrong = clib_settings_load(trim(path) // c_null_char)
    if (wrong < 0) then
      print '(3a)', 'minimodel: cannot read ', trim(path), ''
      stop 2
    else if (wrong > 0) then
      print '(3a,i0,a)', 'minimodel: ', trim(path), ':', wrong, ': expected `name = value`'
      stop 2
    end if
  end subroutine load_settings

  real(dp) function setting(name, otherwise)
    character(len=*), intent(in) :: name
    real(dp), intent(in) :: otherwise
    setting = clib_settings_number(name // c_null_char, otherwise)
  end function setting

  function text_setting(name, otherwise) result(text)
    character(len=*), intent(in) :: name, otherwise
    character(len=:), allocatable :: text
    character(len=256) :: buffer
    call clib_settings_text(name // c_null_char, otherwise // c_null_char, buffer, len(buffer))
    text = buffer(:index(buffer, c_null_char) - 1)
  end function text_setting

  subroutine seed_random(seed)
    integer, intent(in) :: seed
    call clib_random_seed(int(seed, c_int64_t))
  end subroutine seed_random

  real(dp) function normal_noise()
    normal_noise = clib_random_normal()
  end function normal_noise

  real(dp) function mean(values, weights)
    real(dp), intent(in), contiguous :: values(:, :), weights(:, :)
    mean = clib_mean(values, weights, size(values))
  end function mean

  real(dp) function deviation(values, weights)
    real(dp), intent(in), contiguous :: values(:, :), weights(:, :)
    deviation = clib_deviation(values, weights, size(values))
  end function deviation

  real(dp) function quantile(values, weights, fraction)
    real(dp), intent(in), contiguous :: values(:, :), weights(:, :)
    real(dp), intent(in) :: fraction
    quantile = clib_quantile(values, weights, size(values), fraction)
  end function quantile

  real(dp) function exact_sum(values)
    real(dp), intent(in), contiguous :: values(:)
    exact_sum = clib_sum(values, size(values))
  end function exact_sum

  function power_spectrum(series) result(power)
    real(dp), intent(in), contiguous :: series(:)
    real(dp) :: power(0:size(series) / 2)
    call clib_power_spectrum(series, size(series), power)
  end function power_spectrum

  subroutine table_heading(names, columns, width)
    character(len=*), intent(in) :: names
    integer, intent(in) :: columns, width
    flush (6)
    call clib_table_heading(names // c_null_char, columns, width)
  end subroutine table_heading

  subroutine table_row(values, width, decimals)
    real(dp), intent(in), contiguous :: values(:)
    integer, intent(in) :: width, decimals
    flush (6)
    call clib_table_row(values, size(values), width, decimals)
  end subroutine table_row

  subroutine ascii_map(field, low, high, symbols)
    real(dp), intent(in), contiguous :: field(:, :)
    real(dp), intent(in) :: low, high
    character(len=*), intent(in) :: symbols
    flush (6)
    call clib_ascii_map(field, size(field, 1), size(field, 2), low, high, symbols // c_null_char)
  end subroutine ascii_map

  subroutine write_image(path, field, low, high, scale)
    character(len=*), intent(in) :: path
    real(dp), intent(in), contiguous :: field(:, :)
    real(dp), intent(in) :: low, high
    integer, intent(in) :: scale
    if (clib_write_image(path // c_null_char, field, size(field, 1), size(field, 2), low, high, scale) /= 0) &
      call cannot_write(path)
  end subroutine write_image

  subroutine write_netcdf(path, lon, lat, names, fields)
    character(len=*), intent(in) :: path, names(:)
    real(dp), intent(in), contiguous :: lon(:), lat(:), fields(:, :, :)
    character(len=len(names) * size(names)) :: joined
    integer :: i
    do i = 1, size(names)
      joined((i - 1) * len(names) + 1:i * len(names)) = names(i)
    end do
    if (clib_netcdf_write(path // c_null_char, size(lon), size(lat), lon, lat, size(names), joined, &
                          len(names), fields) /= 0) call cannot_write(path)
  end subroutine write_netcdf

  subroutine write_checkpoint(path, values)
    character(len=*), intent(in) :: path
    real(dp), intent(in), contiguous :: values(:)
    if (clib_checkpoint_write(path // c_null_char, values, size(values)) /= 0) call cannot_write(path)
  end subroutine write_checkpoint

  !> 0, or what clib.h says.
  integer function read_checkpoint(path, values)
    character(len=*), intent(in) :: path
    real(dp), intent(out), contiguous :: values(:)
    read_checkpoint = clib_checkpoint_read(path // c_null_char, values, size(values))
  end function read_checkpoint

  subroutine cannot_write(path)
    character(len=*), intent(in) :: path
    print '(2a)', 'minimodel: cannot write ', path
    stop 3
  end subroutine cannot_write

end module clib
