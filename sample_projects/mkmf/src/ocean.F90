program ocean
  use mixing_mod
  use grid_mod
  implicit none
  real :: t(nlat)
  integer :: j, step
  t = [(28.0 * cos(latitude(j) * 3.14159 / 180.0), j = 1, nlat)]
  do step = 1, 50
     call mix(t)
  end do
  print '(a, f7.3)', 'equator ', t(nlat / 2)
end program ocean
