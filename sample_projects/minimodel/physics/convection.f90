!> Convection: dry adjustment of layers that lie heavy on light, then relaxation towards the moist adiabat of the air
!> that rises from the lowest layer (Betts and Miller 1986, simplified as by Frierson 2007).
module convection
  use kinds, only: dp
  use constants, only: cp_dry, latent_vapour
  use grid, only: nlev, mass, p_mid, exner
  use columns, only: air_column
  use vapour, only: saturation, moist_lapse
  implicit none
  private
  real(dp), parameter :: relaxation = 7200.0_dp         ! s
  real(dp), parameter :: reference_humidity = 0.75_dp   ! relative
  public :: adjust_dry, convect

contains

  !> Neighbouring layers with falling potential temperature are mixed, enthalpy kept, until none is left.
  pure subroutine adjust_dry(column)
    type(air_column), intent(inout) :: column
    real(dp) :: theta, vapour
    integer :: k, sweep
    logical :: changed
    do sweep = 1, 4 * nlev
      changed = .false.
      do k = nlev - 1, 1, -1
        if (column%t(k) / exner(k) >= column%t(k + 1) / exner(k + 1) - 1.0e-9_dp) cycle
        theta = (mass(k) * column%t(k) + mass(k + 1) * column%t(k + 1)) &
          / (mass(k) * exner(k) + mass(k + 1) * exner(k + 1))
        column%t(k) = theta * exner(k)
        column%t(k + 1) = theta * exner(k + 1)
        vapour = (mass(k) * column%q(k) + mass(k + 1) * column%q(k + 1)) / (mass(k) + mass(k + 1))
        column%q(k) = vapour
        column%q(k + 1) = vapour
        changed = .true.
      end do
      if (.not. changed) exit
    end do
  end subroutine adjust_dry

  !> `rain` in kg m-2 over the step; cp T + L q of the column is kept exactly.
  subroutine convect(column, step, rain)
    type(air_column), intent(inout) :: column
    real(dp), intent(in) :: step
    real(dp), intent(out) :: rain
    real(dp) :: t_ref(nlev), q_ref(nlev), share, drying, warming, above(nlev), dq(nlev), dt(nlev)
    integer :: top
    rain = 0.0_dp
    call parcel_profile(column, t_ref, top)
    if (top >= nlev - 1) return
    q_ref = reference_humidity * saturation(t_ref, p_mid)
    share = 1.0_dp - exp(-step / relaxation)
    above = 0.0_dp
    above(top:nlev) = 1.0_dp
    dt = above * (t_ref - column%t)
    dq = above * (q_ref - column%q)
    drying = -sum(dq * mass)
    warming = cp_dry / latent_vapour * sum(dt * mass)
    if (drying <= 0.0_dp .or. warming <= 0.0_dp) return
    ! Shift the reference temperature so that the heat released is the heat that warms.
    dt = dt + above * (drying - warming) * latent_vapour / (cp_dry * sum(above * mass))
    column%t = column%t + share * dt
    column%q = column%q + share * dq
    rain = share * drying
  end subroutine convect

  !> The temperature of air lifted from the lowest layer, and the highest layer where it is still buoyant.
  subroutine parcel_profile(column, t_ref, top)
    type(air_column), intent(in) :: column
    real(dp), intent(out) :: t_ref(nlev)
    integer, intent(out) :: top
    real(dp) :: qs(1), dry, wet, middle, lapse
    integer :: k, half
    logical :: saturated
    t_ref = column%t
    top = nlev
    saturated = .false.
    do k = nlev - 1, 1, -1
      if (.not. saturated) then
        dry = t_ref(k + 1) * exner(k) / exner(k + 1)
        qs = saturation([dry], [p_mid(k)])
        saturated = qs(1) < column%q(nlev)
        t_ref(k) = dry
      end if
      if (saturated) then
        ! Two midpoint steps in ln p.
        wet = t_ref(k + 1)
        do half = 1, 2
          lapse = 0.5_dp * log(p_mid(k) / p_mid(k + 1))
          middle = wet + 0.5_dp * lapse * moist_lapse(wet, p_mid(k + 1) * exp((half - 1) * lapse))
          wet = wet + lapse * moist_lapse(middle, p_mid(k + 1) * exp((half - 0.5_dp) * lapse))
        end do
        t_ref(k) = wet
      end if
      if (t_ref(k) < column%t(k) .and. saturated) exit
      if (saturated) top = k
    end do
    if (top < nlev) t_ref(1:top - 1) = column%t(1:top - 1)
  end subroutine parcel_profile

end module convection
