!> Physical constants (SI) for free-form code; the numbers are those of physical.inc, which the fixed-form code includes.
module constants
  use kinds, only: dp
  implicit none
  private
  include 'physical.inc'
  real(dp), parameter, public :: pi_ = pi
  real(dp), parameter, public :: degree = pi / 180.0_dp
  real(dp), parameter, public :: stefan_boltzmann = stefan      ! W m-2 K-4
  real(dp), parameter, public :: solar_constant = solarc        ! W m-2
  real(dp), parameter, public :: earth_radius = rearth          ! m
  real(dp), parameter, public :: earth_rotation = omegae        ! s-1
  real(dp), parameter, public :: gravity = gravit               ! m s-2
  real(dp), parameter, public :: r_dry = rdry, r_vapour = rvap  ! J kg-1 K-1
  real(dp), parameter, public :: cp_dry = cpdry                 ! J kg-1 K-1
  real(dp), parameter, public :: latent_vapour = hlvap          ! J kg-1
  real(dp), parameter, public :: latent_fusion = hlfus          ! J kg-1
  real(dp), parameter, public :: freezing = tfrez               ! K
  real(dp), parameter, public :: freezing_sea = tfrez - 1.8_dp  ! K
  real(dp), parameter, public :: kappa = rdry / cpdry
  real(dp), parameter, public :: density_water = 1000.0_dp      ! kg m-3
  real(dp), parameter, public :: density_ice = 917.0_dp         ! kg m-3
  real(dp), parameter, public :: heat_water = 3990.0_dp         ! J kg-1 K-1
  real(dp), parameter, public :: conductivity_ice = 2.2_dp      ! W m-1 K-1
  real(dp), parameter, public :: seconds_per_day = 86400.0_dp
end module constants
