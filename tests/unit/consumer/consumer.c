/* Uses a part of the library that needs jansson, and tells its version. */
#include <imctl.h>
#include <stdio.h>

int main(void)
{
    struct imctl_message *m = imctl_message_json("{\"to\":\"bob\"}");
    int error = m ? imctl_message_set_id(m, "1") : -1;
    imctl_message_free(m);
    return error || puts(imctl_version()) < 0;
}
