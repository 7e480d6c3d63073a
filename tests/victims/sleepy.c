/* Does nothing between "go" and "done".
 *
 * Expected: 0 bytes, 0 blocks.
 */
#include "victim.h"

int main(void) {
    victim_ready();
    victim_done();
    return 0;
}
