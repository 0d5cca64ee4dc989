!> Tridiagonal systems, open and periodic, for one and for many right-hand sides.
module linear
  use kinds, only: dp
  implicit none
  private
  interface solve_tridiagonal
    module procedure solve_one, solve_many
  end interface solve_tridiagonal
  public :: solve_tridiagonal, solve_periodic

contains

  !> lower(i) x(i-1) + middle(i) x(i) + upper(i) x(i+1) = right(i); Thomas' algorithm, no pivoting.
  pure subroutine solve_one(lower, middle, upper, right, x)
    real(dp), intent(in) :: lower(:), middle(:), upper(:), right(:)
    real(dp), intent(out) :: x(:)
    real(dp) :: gain(size(right)), pivot
    integer :: i, n
    n = size(right)
    pivot = middle(1)
    gain(1) = upper(1) / pivot
    x(1) = right(1) / pivot
    do i = 2, n
      pivot = middle(i) - lower(i) * gain(i - 1)
      gain(i) = upper(i) / pivot
      x(i) = (right(i) - lower(i) * x(i - 1)) / pivot
    end do
    do i = n - 1, 1, -1
      x(i) = x(i) - gain(i) * x(i + 1)
    end do
  end subroutine solve_one

  !> The same matrix for every column of `right`.
  pure subroutine solve_many(lower, middle, upper, right, x)
    real(dp), intent(in) :: lower(:), middle(:), upper(:), right(:, :)
    real(dp), intent(out) :: x(:, :)
    real(dp) :: gain(size(right, 1)), pivot
    integer :: i, n
    n = size(right, 1)
    pivot = middle(1)
    gain(1) = upper(1) / pivot
    x(1, :) = right(1, :) / pivot
    do i = 2, n
      pivot = middle(i) - lower(i) * gain(i - 1)
      gain(i) = upper(i) / pivot
      x(i, :) = (right(i, :) - lower(i) * x(i - 1, :)) / pivot
    end do
    do i = n - 1, 1, -1
      x(i, :) = x(i, :) - gain(i) * x(i + 1, :)
    end do
  end subroutine solve_many

  !> As solve_tridiagonal, but lower(1) couples to x(n) and upper(n) to x(1): the Sherman-Morrison formula.
  pure subroutine solve_periodic(lower, middle, upper, right, x)
    real(dp), intent(in) :: lower(:), middle(:), upper(:), right(:)
    real(dp), intent(out) :: x(:)
    real(dp) :: changed(size(right)), both(size(right), 2), solved(size(right), 2), shift, factor
    integer :: n
    n = size(right)
    shift = -middle(1)
    changed = middle
    changed(1) = middle(1) - shift
    changed(n) = middle(n) - upper(n) * lower(1) / shift
    both(:, 1) = right
    both(:, 2) = 0.0_dp
    both(1, 2) = shift
    both(n, 2) = upper(n)
    call solve_many(lower, changed, upper, both, solved)
    factor = (solved(1, 1) + lower(1) * solved(n, 1) / shift) &
      / (1.0_dp + solved(1, 2) + lower(1) * solved(n, 2) / shift)
    x = solved(:, 1) - factor * solved(:, 2)
  end subroutine solve_periodic

end module linear
