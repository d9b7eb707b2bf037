/*
 * phone.cc
 *		cdp_phone: phone numbers by libphonenumber.
 */
#include "identifier/module.h"

#include <cstring>
#include <string>

#include <phonenumbers/phonenumberutil.h>

using i18n::phonenumbers::PhoneNumber;
using i18n::phonenumbers::PhoneNumberUtil;

/* The region of numbers that belong to none: only the international form is read. */
static const char nowhere[] = "ZZ";

/* Read a number as one dials it in a region; false: there is none that is valid. An extension is dropped. */
static bool
read(const std::string &text, const std::string &region, std::string *e164)
{
	const PhoneNumberUtil &library = *PhoneNumberUtil::GetInstance();
	PhoneNumber number;

	if (library.Parse(text, region, &number) != PhoneNumberUtil::NO_PARSING_ERROR || !library.IsValidNumber(number))
		return false;
	library.Format(number, PhoneNumberUtil::E164, e164);
	return e164->size() <= CDP_MAX_E164_BYTES;
}

int
cdp_phone_to_e164(const char *text, int length, const char *region, char *out)
{
	try
	{
		std::string written(text, length);
		std::string e164;
		size_t zeros = written.find_first_not_of(" (");

		if (!read(written, *region != '\0' ? region : nowhere, &e164))
		{
			/* 00 is the plus of those who dial it, and people write it where it is not dialled too */
			if (zeros == std::string::npos || written.compare(zeros, 2, "00") != 0 ||
				!read(written.replace(zeros, 2, "+"), nowhere, &e164))
				return -1;
		}
		memcpy(out, e164.data(), e164.size());
		return e164.size();
	}
	catch (...)
	{
		return -1;
	}
}

int
cdp_phone_is_region(const char *region)
{
	try
	{
		return PhoneNumberUtil::GetInstance()->GetCountryCodeForRegion(region) != 0;
	}
	catch (...)
	{
		return 0;
	}
}
