/* What every process tells about itself: memory, open files, processor time, start time, version.
 * Read at each scrape. */
#ifndef HINDCAST_BASE_PROCESS_METRICS_H
#define HINDCAST_BASE_PROCESS_METRICS_H

/* Reads /proc and sets hindcast_process_* and hindcast_build_info. Any thread; a metrics_hook. */
void process_metrics_update(void *unused);

#endif
