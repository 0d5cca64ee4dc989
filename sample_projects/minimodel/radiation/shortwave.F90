!> Sunlight through the layers by the adding method; each layer's reflection and transmission come from the two-stream
!> equations (Meador and Weaver 1980, Eddington's closure), clear and cloudy sky mixed by cover.
module shortwave
  use kinds, only: dp
  use grid, only: nlev
  use columns, only: air_column
  use spectrum, only: nshort, sun_share
  use gases, only: sun_absorption_depth, rayleigh_depth
  use clouds, only: cloud_column, cloud_absorption
  implicit none
  private
  real(dp), parameter :: asymmetry_cloud = 0.85_dp
  real(dp), parameter :: two_thirds = 2.0_dp / 3.0_dp
  public :: sunlight

contains

  !> `net(k)`: downward less upward flux at the upper edge of layer k+1, in units of the flux at the top.
  subroutine sunlight(column, cloud, cosine, albedo, net)
    type(air_column), intent(in) :: column
    type(cloud_column), intent(in) :: cloud
    real(dp), intent(in) :: cosine, albedo
    real(dp), intent(out) :: net(0:nlev)
    real(dp) :: absorbing(nshort, nlev), scattering(nshort, nlev), band_net(0:nlev)
    real(dp) :: r(nlev), t(nlev)
    integer :: band
    absorbing = sun_absorption_depth(column)
    scattering = rayleigh_depth()
    net = 0.0_dp
    do band = 1, nshort
      call layer_optics(absorbing(band, :), scattering(band, :), cloud, cloud_absorption(band), cosine, r, t)
      call add_layers(r, t, surface_albedo(albedo, band), band_net)
      net = net + sun_share(band) * band_net
    end do
  end subroutine sunlight

  !> Snow and ice reflect the near infrared less than the visible.
  pure real(dp) function surface_albedo(albedo, band)
    real(dp), intent(in) :: albedo
    integer, intent(in) :: band
    surface_albedo = merge(albedo, albedo * (1.0_dp - 0.35_dp * max(albedo - 0.3_dp, 0.0_dp)), band <= 2)
  end function surface_albedo

  pure subroutine layer_optics(absorbing, scattering, cloud, darkness, cosine, r, t)
    real(dp), intent(in) :: absorbing(nlev), scattering(nlev), darkness, cosine
    type(cloud_column), intent(in) :: cloud
    real(dp), intent(out) :: r(nlev), t(nlev)
    real(dp) :: clear_r, clear_t, cloudy_r, cloudy_t, depth, single, g
    integer :: k
    do k = 1, nlev
      depth = absorbing(k) + scattering(k)
      single = scattering(k) / max(depth, 1.0e-12_dp)
      call two_stream(depth, single, 0.0_dp, cosine, clear_r, clear_t)
      if (cloud%cover(k) > 0.0_dp) then
        depth = absorbing(k) + scattering(k) + cloud%depth(k)
        single = (scattering(k) + cloud%depth(k) * (1.0_dp - darkness)) / depth
        g = asymmetry_cloud * cloud%depth(k) / (scattering(k) + cloud%depth(k))
        call two_stream(depth, single, g, cosine, cloudy_r, cloudy_t)
      else
        cloudy_r = clear_r
        cloudy_t = clear_t
      end if
      r(k) = (1.0_dp - cloud%cover(k)) * clear_r + cloud%cover(k) * cloudy_r
      t(k) = (1.0_dp - cloud%cover(k)) * clear_t + cloud%cover(k) * cloudy_t
    end do
  end subroutine layer_optics

  !> Reflection and transmission of one layer for light that falls in at `cosine`, delta-scaled (Joseph et al. 1976).
  pure subroutine two_stream(depth, single, g, cosine, r, t)
    real(dp), intent(in) :: depth, single, g, cosine
    real(dp), intent(out) :: r, t
    real(dp) :: forward, tau, omega, gd, gamma1, gamma2, k, e, mu, denominator
    forward = g * g
    tau = (1.0_dp - single * forward) * depth
    omega = min(single * (1.0_dp - forward) / (1.0_dp - single * forward), 0.999999_dp)
    gd = (g - forward) / (1.0_dp - forward)
    mu = max(cosine, 0.05_dp)
    ! The slant path makes the layer thicker; diffuse light (mu = 2/3) sees the Eddington coefficients as they are.
    tau = tau * two_thirds / mu
    gamma1 = (7.0_dp - omega * (4.0_dp + 3.0_dp * gd)) / 4.0_dp
    gamma2 = -(1.0_dp - omega * (4.0_dp - 3.0_dp * gd)) / 4.0_dp
    k = sqrt(max(gamma1**2 - gamma2**2, 1.0e-10_dp))
    e = exp(-min(k * tau, 40.0_dp))
    denominator = k + gamma1 + (k - gamma1) * e * e
    r = min(max(gamma2 * (1.0_dp - e * e) / denominator, 0.0_dp), 1.0_dp)
    t = min(2.0_dp * k * e / denominator, 1.0_dp - r)
  end subroutine two_stream

  !> The whole stack from its layers, from the ground upwards, then the fluxes from the top downwards.
  pure subroutine add_layers(r, t, albedo, net)
    real(dp), intent(in) :: r(nlev), t(nlev), albedo
    real(dp), intent(out) :: net(0:nlev)
    real(dp) :: below(nlev + 1), down, many
    integer :: k
    below(nlev + 1) = albedo
    do k = nlev, 1, -1
      below(k) = r(k) + t(k)**2 * below(k + 1) / (1.0_dp - r(k) * below(k + 1))
    end do
    down = 1.0_dp
    net(0) = 1.0_dp - below(1)
    do k = 1, nlev
      many = 1.0_dp / (1.0_dp - r(k) * below(k + 1))
      down = down * t(k) * many
      net(k) = down * (1.0_dp - below(k + 1))
    end do
#ifdef CHECK_SHORTWAVE
    if (any(net(0:nlev - 1) < net(1:nlev) - 1.0e-12_dp)) error stop 'shortwave: a layer emits sunlight'
#endif
  end subroutine add_layers

end module shortwave
