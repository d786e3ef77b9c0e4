// password_change --
// Another password for who asks, who has to know the present one.
ALTER CURRENT USER SET PASSWORD FROM $old TO $new;
