double growth(double thickness, double kelvin_below);
double drift(double wind);
