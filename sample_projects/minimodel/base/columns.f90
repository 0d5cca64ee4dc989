!> One column of air, as the physics sees it: copied out of the fields, changed, copied back.
module columns
  use kinds, only: dp
  use constants, only: cp_dry, latent_vapour, gravity, r_dry
  use grid, only: nlev, mass, p_mid, p_edge, exner
  use fields, only: air_state
  implicit none
  private
  type, public :: air_column
    real(dp) :: t(nlev)     ! K
    real(dp) :: q(nlev)     ! kg/kg
  contains
    procedure :: enthalpy => column_enthalpy
    procedure :: water => column_water
    procedure :: altitude => column_altitude
    procedure :: potential => column_potential
    procedure :: moist_static => column_moist_static
  end type air_column
  public :: take_column, put_column

contains

  pure type(air_column) function take_column(air, i, j)
    type(air_state), intent(in) :: air
    integer, intent(in) :: i, j
    take_column%t = air%temperature(i, j, :)
    take_column%q = air%humidity(i, j, :)
  end function take_column

  pure subroutine put_column(column, air, i, j)
    type(air_column), intent(in) :: column
    type(air_state), intent(inout) :: air
    integer, intent(in) :: i, j
    air%temperature(i, j, :) = column%t
    air%humidity(i, j, :) = column%q
  end subroutine put_column

  !> J m-2, latent heat included.
  pure real(dp) function column_enthalpy(this)
    class(air_column), intent(in) :: this
    column_enthalpy = sum((cp_dry * this%t + latent_vapour * this%q) * mass)
  end function column_enthalpy

  !> kg m-2.
  pure real(dp) function column_water(this)
    class(air_column), intent(in) :: this
    column_water = sum(this%q * mass)
  end function column_water

  !> Heights of the layers' middles, m, from the hydrostatic equation.
  pure function column_altitude(this) result(z)
    class(air_column), intent(in) :: this
    real(dp) :: z(nlev), scale, base
    integer :: k
    base = 0.0_dp
    do k = nlev, 1, -1
      scale = r_dry * this%t(k) * (1.0_dp + 0.608_dp * this%q(k)) / gravity
      z(k) = base + scale * log(p_edge(k) / p_mid(k))
      if (k > 1) base = base + scale * log(p_edge(k) / p_edge(k - 1))
    end do
  end function column_altitude

  !> Potential temperature, K.
  pure function column_potential(this) result(theta)
    class(air_column), intent(in) :: this
    real(dp) :: theta(nlev)
    theta = this%t / exner
  end function column_potential

  !> Moist static energy, J kg-1.
  pure function column_moist_static(this) result(energy)
    class(air_column), intent(in) :: this
    real(dp) :: energy(nlev)
    energy = cp_dry * this%t + gravity * this%altitude() + latent_vapour * this%q
  end function column_moist_static

end module columns
