!> Heat transport of the sea by gyres and eddies, as diffusion between sea cells; coasts are closed.
submodule (slab) slab_transport
  use constants, only: degree
  use geography, only: is_land
  use grid, only: latitude, width, height, edge_width, area
  implicit none
  real(dp), parameter :: strongest = 3.0e4_dp        ! m2/s, in the subtropical gyres

contains

  module procedure carry_heat
    real(dp) :: warmth(nlon, nlat), east(nlon, nlat), north(nlon, 0:nlat)
    integer :: i, j, next
    warmth = merge(0.0_dp, slab_capacity * (sea_temperature(heat) - freezing_sea), is_land)
    north = 0.0_dp
    do j = 1, nlat
      do i = 1, nlon
        next = merge(1, i + 1, i == nlon)
        east(i, j) = 0.0_dp
        if (.not. (is_land(i, j) .or. is_land(next, j))) &
          east(i, j) = gyre(latitude(j)) * (warmth(i, j) - warmth(next, j)) / width(j) * height
      end do
    end do
    do j = 1, nlat - 1
      do i = 1, nlon
        if (.not. (is_land(i, j) .or. is_land(i, j + 1))) north(i, j) = &
          gyre(0.5_dp * (latitude(j) + latitude(j + 1))) * (warmth(i, j) - warmth(i, j + 1)) / height * edge_width(j)
      end do
    end do
    do j = 1, nlat
      do i = 1, nlon
        next = merge(nlon, i - 1, i == 1)
        heat(i, j) = heat(i, j) - step / area(j) * (east(i, j) - east(next, j) + north(i, j) - north(i, j - 1))
      end do
    end do
  end procedure carry_heat

  pure real(dp) function gyre(north)
    real(dp), intent(in) :: north
    gyre = strongest * (0.3_dp + 0.7_dp * sin(3.0_dp * min(abs(north), 60.0_dp) * degree)**2)
  end function gyre

end submodule slab_transport
