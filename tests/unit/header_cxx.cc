// The public header is enough by itself, in C++.
#include <imctl.h>

int main()
{
    imctl *connection = nullptr;
    imctl_message *message = imctl_message_text("hi");
    int error = imctl_open(nullptr, 0, &connection);
    if (error == 0)
        error = imctl_send(
            connection, message, [](imctl *, const imctl_reply *reply, void *) { imctl_reply_error(reply); }, nullptr);
    if (error == 0)
        error = imctl_set_reconnect(connection, [](imctl *, int, void *) {}, nullptr);
    imctl_message_free(message);
    imctl_close(connection);
    return error;
}
