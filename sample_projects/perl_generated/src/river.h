double runoff(double rain);
double stage(double flow);
