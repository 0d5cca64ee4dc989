!> What the eddies that the grid can't hold carry: diffusion, implicit in both directions, in flux form.
module eddies
  use kinds, only: dp
  use constants, only: degree
  use grid, only: nlon, nlat, nlev, width, height, edge_width, latitude, p_mid, surface_pressure
  use linear, only: solve_tridiagonal, solve_periodic
  implicit none
  private
  real(dp), parameter :: strongest = 2.6e6_dp, weakest = 0.6e6_dp      ! m2/s
  public :: diffuse

contains

  !> `share` scales the diffusivity (heat 1, vapour less).
  subroutine diffuse(tracer, share, step)
    real(dp), intent(inout) :: tracer(nlon, nlat, nlev)
    real(dp), intent(in) :: share, step
    integer :: k
    do k = 1, nlev
      call diffuse_zonally(tracer(:, :, k), share * layer_share(k), step)
      call diffuse_meridionally(tracer(:, :, k), share * layer_share(k), step)
    end do
  end subroutine diffuse

  !> Storms mix the lower troposphere most.
  pure real(dp) function layer_share(k)
    integer, intent(in) :: k
    layer_share = 0.3_dp + 0.7_dp * (p_mid(k) / surface_pressure)
  end function layer_share

  elemental real(dp) function diffusivity(north)
    real(dp), intent(in) :: north
    diffusivity = weakest + (strongest - weakest) * sin(2.0_dp * north * degree)**2
  end function diffusivity

  subroutine diffuse_zonally(field, share, step)
    real(dp), intent(inout) :: field(nlon, nlat)
    real(dp), intent(in) :: share, step
    real(dp) :: side(nlon), middle(nlon), mixed(nlon)
    integer :: j
    do j = 1, nlat
      side = -step * share * diffusivity(latitude(j)) / width(j)**2
      middle = 1.0_dp - 2.0_dp * side
      call solve_periodic(side, middle, side, field(:, j), mixed)
      field(:, j) = mixed
    end do
  end subroutine diffuse_zonally

  subroutine diffuse_meridionally(field, share, step)
    real(dp), intent(inout) :: field(nlon, nlat)
    real(dp), intent(in) :: share, step
    real(dp) :: lower(nlat), middle(nlat), upper(nlat), across, columns(nlat, nlon), mixed(nlat, nlon)
    integer :: j
    lower = 0.0_dp
    upper = 0.0_dp
    do j = 1, nlat - 1
      across = step * share * diffusivity(0.5_dp * (latitude(j) + latitude(j + 1))) * edge_width(j) / height
      upper(j) = -across / (width(j) * height)
      lower(j + 1) = -across / (width(j + 1) * height)
    end do
    middle = 1.0_dp - lower - upper
    columns = transpose(field)
    call solve_tridiagonal(lower, middle, upper, columns, mixed)
    field = transpose(mixed)
  end subroutine diffuse_meridionally

end module eddies
