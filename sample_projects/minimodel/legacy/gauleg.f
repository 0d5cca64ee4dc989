      SUBROUTINE GAULEG (N, X, W)
C****
C**** ABSCISSAS AND WEIGHTS OF GAUSS AND LEGENDRE ON -1 .. 1
C****
      IMPLICIT NONE
      INCLUDE 'physical.inc'
      INTEGER N, I, J, ITER, M
      DOUBLE PRECISION X(N), W(N), Z, Z1, P1, P2, P3, PP
      M = (N+1)/2
      DO 30 I=1,M
        Z = DCOS(PI*(DBLE(I)-0.25D0)/(DBLE(N)+0.5D0))
        PP = 1.D0
        DO 20 ITER=1,50
          P1 = 1.D0
          P2 = 0.D0
          DO 10 J=1,N
            P3 = P2
            P2 = P1
            P1 = (DBLE(2*J-1)*Z*P2-DBLE(J-1)*P3)/DBLE(J)
   10     CONTINUE
          PP = DBLE(N)*(Z*P1-P2)/(Z*Z-1.D0)
          Z1 = Z
          Z = Z1 - P1/PP
          IF (DABS(Z-Z1).LT.1.D-14) GO TO 25
   20   CONTINUE
   25   X(I) = -Z
        X(N+1-I) = Z
        W(I) = 2.D0/((1.D0-Z*Z)*PP*PP)
        W(N+1-I) = W(I)
   30 CONTINUE
      RETURN
      END
