/* Living through a lack of file descriptors. Internal to common/rpc. */
#ifndef HINDCAST_RPC_DESCRIPTORS_H
#define HINDCAST_RPC_DESCRIPTORS_H

/* Keeps one descriptor for the day when there is none. Once is enough: accept4 does it again when
 * that one was lost. Any thread. */
void descriptors_init(void);

#endif
