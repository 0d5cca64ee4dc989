#ifndef PARTS_H
#define PARTS_H

int sound(void);
int faulty(void);

#endif
