!> A calendar of 365 days.  Times are seconds since the beginning of a run's first year.
module calendar
  use kinds, only: dp
  use constants, only: seconds_per_day
  use grid, only: nlon, longitude
  implicit none
  private
  integer, parameter :: month_lengths(12) = [31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31]
  character(len=3), parameter :: month_names(12) = &
    ['Jan', 'Feb', 'Mar', 'Apr', 'May', 'Jun', 'Jul', 'Aug', 'Sep', 'Oct', 'Nov', 'Dec']
  type, public :: date
    integer :: year = 1, month = 1, day = 1
    real(dp) :: hour = 0.0_dp
  contains
    procedure :: text => date_text
  end type date
  public :: date_of, day_of_year, hour_angles

contains

  pure type(date) function date_of(seconds)
    real(dp), intent(in) :: seconds
    integer :: days, month
    days = int(seconds / seconds_per_day)
    date_of%hour = (seconds - days * seconds_per_day) / 3600.0_dp
    date_of%year = 1 + days / 365
    days = mod(days, 365)
    do month = 1, 12
      if (days < month_lengths(month)) exit
      days = days - month_lengths(month)
    end do
    date_of%month = month
    date_of%day = days + 1
  end function date_of

  !> 1.0 is the first of January, 0 h.
  pure real(dp) function day_of_year(seconds)
    real(dp), intent(in) :: seconds
    day_of_year = 1.0_dp + modulo(seconds / seconds_per_day, 365.0_dp)
  end function day_of_year

  !> The sun's hour angle (radians, 0 at noon, west positive) at every longitude.
  pure function hour_angles(seconds) result(angles)
    real(dp), intent(in) :: seconds
    real(dp) :: angles(nlon), turn
    real(dp), parameter :: two_pi = 6.283185307179586_dp
    turn = modulo(seconds / seconds_per_day, 1.0_dp)
    angles = modulo(two_pi * (turn + longitude / 360.0_dp), two_pi) - 0.5_dp * two_pi
  end function hour_angles

  function date_text(this) result(text)
    class(date), intent(in) :: this
    character(len=:), allocatable :: text
    character(len=32) :: line
    write (line, '(a,1x,i0,", year ",i0)') month_names(this%month), this%day, this%year
    text = trim(line)
  end function date_text

end module calendar
